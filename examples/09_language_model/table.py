"""Prints what the runs under a folder measured: python table.py sweeps"""

import json
import sys
from pathlib import Path

rows = []
for path in Path(sys.argv[1]).rglob("run.json"):
    run = json.loads(path.read_text())
    notes = {name: note for stage in run["stages"] for name, note in stage["notes"].items()}
    found, tokens, weights = notes["perplexity"], notes["generation"], notes["audit"]["weights"]
    most = max(weights, key=weights.get)
    row = (
        run["choices"]["target"],
        run["choices"]["precision"],
        f"{found['value']:.2f}",
        f"{found['ratio']:.4f}",
        f"{found['kl']:.0e}",
        f"{found['agreement']:.1%}",
        f"{run['stages'][-1]['size'] / 1024:.0f} KiB",
        f"{tokens['equal']}, {tokens['open']} too close to call",
        f"{most} {weights[most] / sum(weights.values()):.1%}",
    )
    rows.append((run["choices"]["target"], found["kl"], f"| {' | '.join(row)} |"))
print("| target | precision | perplexity | ratio | KL | top-1 | size | tokens as `generate`'s | weights |")
print("|---|---|---|---|---|---|---|---|---|")
for *_, line in sorted(rows):
    print(line)
