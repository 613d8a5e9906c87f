"""Language models: memory, bytes written and tokens per second of a large one; agreement beside transformers' exporter.

    make bench-generation
    python -m benchmarks.generation agreement           small models alone: minutes
    python -m benchmarks.generation large --width 256   a smaller one of as many layers

`large` is a Qwen2 of 0.5 billion random parameters to ONNX and to OpenVINO: peak memory and bytes written, the delivery
among them, as multiples of its weights; then the tokens that onnxruntime-genai decodes in a second from the folder, in
turn with what transformers' own exporter makes of the same model. `agreement` takes the same folders both ways, asks
both for what follows prompts of several lengths, filled up on the left, and counts the tokens that are the PyTorch
model's own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import verdict
from benchmarks.large_model import by_stage, written
from benchmarks.process import Measured, measure

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "language_models_measured.md"
# What we hold ourselves to, as multiples of the weights, and tokens per second as a share of the other's.
MEMORY, WRITTEN_ONNX, WRITTEN_IR, SPEED = 2.5, 2.2, 3.2, 0.9
PROMPT, NEW, ROUNDS = 64, 24, 3
LARGE = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "vocab_size": 320,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "llama": GROUPED,
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": 320},
    "qwen3": {**GROUPED, "head_dim": 16},
    "phi3": {**SMALL, "num_key_value_heads": 4, "pad_token_id": 0},
    "mistral": {**GROUPED, "sliding_window": 16},
    "gemma3_text": {**GROUPED, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16},
}
LENGTHS = ((1,), (7,), (40,), (3, 17, 8))  # of the prompts that are asked together


def save(kind: str, fields: Mapping[str, Any], into: Path, spread: float) -> None:
    """A folder as save_pretrained writes it, of seeded weights.

    Args:
        kind: A model_type.
        fields: Of its configuration.
        into: The folder.
        spread: The standard deviation of the matrices; large ones make tokens vary.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields)).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=spread)
    model.generation_config.eos_token_id = None
    model.save_pretrained(into)


def pipeline(source: Path, target: str, folder: Path) -> Measured:
    """One run, its store and delivery in the folder."""
    folder.mkdir()
    chosen = ["model=causal_lm", f"model.weights={source}", f"target={target}", "runner.isolate=false"]
    command = [sys.executable, "-m", "pipeline", *chosen, "store=store", "output=out", "hydra.run.dir=run"]
    return measure(command, folder)


def agreement(at: Path) -> list[list[str]]:
    """A row for each model: the share of tokens that are the PyTorch model's own, by both exporters."""
    return [[kind, *_agreement(kind, fields, at)] for kind, fields in MODELS.items()]


def _agreement(kind: str, fields: Mapping[str, Any], at: Path) -> tuple[str, str]:
    source = at / kind
    save(kind, fields, source, spread=0.3)
    batches = [[list(range(5 + n, 5 + n + length)) for n, length in enumerate(row)] for row in LENGTHS]
    path = at / f"{kind}.json"
    path.write_text(json.dumps({"batches": batches, "new": NEW, "fills": 0}))
    right = _eager(source, batches)
    shares = []
    for run in (_ours, _theirs):
        try:
            shares.append(_share(run(source, path, at / f"{kind}-{run.__name__}"), right))
        except RuntimeError as e:
            shares.append(f"none: {str(e).strip().splitlines()[-1][:80]}")
    print(f"{kind:<12} ours {shares[0]}, transformers' exporter {shares[1]}", flush=True)
    return shares[0], shares[1]


def _eager(source: Path, batches: Sequence[Any]) -> list[Any]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    tokens = []
    for rows in batches:
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(r)) + r for r in rows])
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        whole = model.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=0)
        tokens.append(whole[:, width:].tolist())
    return tokens


def _ours(source: Path, record: Path, folder: Path) -> Any:
    pipeline(source, "onnx", folder)
    return _printed([sys.executable, "-m", "benchmarks.generation_ours", "tokens", str(folder), str(record)])


def _theirs(source: Path, record: Path, folder: Path) -> Any:
    command = [sys.executable, "-m", "benchmarks.generation_peer"]
    _printed([*command, "export", str(source), str(folder)], quiet=True)
    return _printed([*command, "tokens", str(folder), str(record)])


def _share(actual: Sequence[Any], right: Sequence[Any]) -> str:
    pairs = [
        (a, b)
        for batch, expected in zip(actual, right, strict=True)
        for row, of in zip(batch, expected, strict=True)
        for a, b in zip(row, of, strict=True)
    ]
    return f"{sum(a == b for a, b in pairs) / len(pairs):.1%} of {len(pairs)}"


def _printed(command: Sequence[str], *, quiet: bool = False) -> Any:
    """What a command prints as JSON in its last line. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr or done.stdout)
    return None if quiet else json.loads(done.stdout.strip().splitlines()[-1])


def large(at: Path, width: int) -> list[tuple[str, float, float]]:
    """Ratios, each with its bound, of one large model."""
    source = at / "large"
    heads = {"num_attention_heads": width // 64, "num_key_value_heads": 2}
    save("qwen2", {**LARGE, "hidden_size": width, **heads}, source, spread=0.02)
    weights = (source / "model.safetensors").stat().st_size
    print(f"weights {weights / 2**30:.2f} GiB", flush=True)
    rows = []
    for target, most in (("onnx", WRITTEN_ONNX), ("openvino", WRITTEN_IR)):
        cold = pipeline(source, target, at / target)
        share = written(at / target) / weights
        print(f"{target}: {cold.seconds:.0f} s, {cold.written_bytes / weights:.2f}x written by the kernel's count")
        print(by_stage(at / target, weights), flush=True)
        rows += [
            (f"{target}: memory / weights", cold.peak_bytes / weights, MEMORY if target == "onnx" else math.inf),
            (f"{target}: written / weights", share, most),
        ]
    _printed([sys.executable, "-m", "benchmarks.generation_peer", "export", str(source), str(at / "peer")], quiet=True)
    pace: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        for name, folder in (("ours", at / "onnx"), ("peer", at / "peer")):
            module = f"benchmarks.generation_{name}"
            seconds = _printed([sys.executable, "-m", module, "speed", str(folder), str(PROMPT), str(NEW)])
            pace[name].append((len(seconds) - 1) / sum(seconds[1:]))
    ours, theirs = (statistics.median(pace[name]) for name in ("ours", "peer"))
    spreads = {name: (max(f) - min(f)) / statistics.median(f) for name, f in pace.items()}
    for name, figures in pace.items():
        print(f"{name}: {statistics.median(figures):.2f} tokens a second, spread {spreads[name]:.0%}")
    spread = f"spread of theirs {spreads['peer']:.0%}, of ours {spreads['ours']:.0%}"
    rows.append((f"their tokens a second / ours ({spread})", theirs / ours, 1 / SPEED))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="?", choices=["agreement", "large"], help="one of them alone; not written down")
    parser.add_argument("--width", type=int, default=LARGE["hidden_size"], help="of the large model, a multiple of 64")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    ratios: list[tuple[str, float, float]] = []
    table: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.which != "agreement":
            ratios = large(Path(folder), arguments.width)
            print("\n".join(verdict.line(*row) for row in ratios))
        if arguments.which != "large":
            table = agreement(Path(folder))
    if arguments.which is None and arguments.width == LARGE["hidden_size"]:
        PAGE.write_text(page(ratios, table))
        print(PAGE)
    sys.exit(0 if all(ratio <= bound for _, ratio, bound in ratios) else 1)


def page(ratios: Sequence[tuple[str, float, float]], table: Sequence[Sequence[str]]) -> str:
    """docs/language_models_measured.md."""
    lines = [
        "# Language models, measured",
        "",
        "Made by `make bench-generation`. A Qwen2 of 0.5 billion random parameters; the delivery is among what was",
        f"written. Tokens per second: {NEW} tokens after a prompt of {PROMPT}, in turn, the median of {ROUNDS}.",
        "",
        "| | | bound |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {ratio:.2f} | {'' if math.isinf(bound) else f'{bound:.2f}'} |" for name, ratio, bound in ratios),
        "",
        "The same folders of small models by our ONNX and by transformers' own exporter, as its guide has it: how",
        f"many of {NEW} greedy tokens are PyTorch's, after prompts of 1, 7 and 40 tokens, and of 3, 17 and 8 that are",
        "filled up on the left.",
        "",
        "| model | here | transformers' exporter |",
        "| --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in table),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
