"""Prints what the runs under a folder measured: python table.py sweeps"""

import json
import sys
from pathlib import Path

print("| target | precision | top-1 | drop | size | worst error | weights |")
print("|---|---|---|---|---|---|---|")
for path in sorted(Path(sys.argv[1]).rglob("run.json")):
    run = json.loads(path.read_text())
    notes = {name: note for stage in run["stages"] for name, note in stage["notes"].items()}
    choices, accuracy, weights = run["choices"], notes["evaluation"], notes["audit"]["weights"]
    most = max(weights, key=weights.get)
    row = (
        choices["target"],
        choices["precision"],
        f"{accuracy['value']:.2%}",
        f"{accuracy['drop'] * 100:.2f} points",
        f"{run['stages'][-1]['size'] / 1024:.1f} KiB",
        f"{max(case['max_rel'] for case in notes['parity']['cases']):.1e}",
        f"{most} {weights[most] / sum(weights.values()):.1%}",
    )
    print(f"| {' | '.join(row)} |")
