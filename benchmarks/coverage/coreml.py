"""Which models reach a checked Core ML package, here and by coremltools alone: makes docs/coreml_coverage.md.

    make bench-coreml                                    everything; at most three hours on two cores
    python -m benchmarks.coverage.coreml timm            a part of a family's or model's name, printed and not written

Its options, and how it goes on where it was stopped, are those of `python -m benchmarks.coverage`; what is finished is
kept in benchmarks/coverage/rows/coreml.jsonl.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.coverage import coreml_ways, page, survey
from benchmarks.coverage.models import Subject

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coreml_coverage.md"
ROWS = Path(__file__).parent / "rows" / "coreml.jsonl"
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "coremltools")
INTRO = """\
# Which models reach a checked Core ML package

Made by `make bench-coreml`, not by hand. Each model is random and goes the way of a user, `target=coreml`, by the
default capture: an ML Program in float32, made on Linux and compared with PyTorch by this project's evaluator of
saved packages at many sizes of `dims`. A transformers model is saved to a folder as `save_pretrained` does it, and
the command is given the folder. A number is the worst relative error; a sentence is what the run said in the end.
Beside it coremltools alone, given our captures, by a trace and, where that fails, by torch.export: whether it
converts them. Whether what it makes is right, nobody says."""


def written(rows: Sequence[tuple[Subject, survey.Row]], open_ones: Sequence[Subject]) -> str:
    """The page."""
    return page.written(INTRO.splitlines(), LIBRARIES, coreml_ways.WAYS, rows, open_ones)


if __name__ == "__main__":
    imported = ["torch", "torch._dynamo", "torchvision", "timm", "transformers", "coremltools", "pipeline.cli"]
    survey.command(__doc__, survey.Survey(coreml_ways.WAYS, coreml_ways.run, imported), ROWS, PAGE, written)
