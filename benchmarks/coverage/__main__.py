"""Which models reach a checked ONNX graph and OpenVINO IR, here and by plain converters: makes docs/coverage.md.

    make coverage                                       everything; at most three hours on two cores
    python -m benchmarks.coverage timm                  a part of a family's or model's name, printed and not written
    python -m benchmarks.coverage --every 5 transformers    every fifth of these
    python -m benchmarks.coverage --page                the page alone, of what is finished

What is finished is kept in benchmarks/coverage/rows/onnx_openvino.jsonl, or --rows FILE, with the commit that it was
converted at, and a run goes on where one was stopped, on another machine too: commit the file, and delete a model's
line to have it converted again. Each model has random weights and goes the way of a user, by the default route and
capture; a transformers model is saved to a folder, and the command is given that. Beside it torch.onnx.export and
openvino.convert_model, called as their guides have it for the same example and the same dynamic dimensions, and held to
the same answers. Each model has a process of its own, forked from one that has imported everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.coverage import page, survey, ways
from benchmarks.coverage.models import Subject

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coverage.md"
ROWS = Path(__file__).parent / "rows" / "onnx_openvino.jsonl"
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "onnx", "openvino")
INTRO = """\
# Which models reach a checked ONNX graph and a checked OpenVINO IR

Made by `make coverage`, not by hand. Each model is random and goes the way of a user: `target=onnx`,
`target=openvino`, `target=openvino route=direct`, by the default capture, each compared with PyTorch at many
sizes of `dims`. A transformers model is saved to a folder as `save_pretrained` does it, and the command is
given the folder. A number is the worst relative error; a sentence is what the run said in the end. Beside it
the plain converters, given the same example and the same dynamic dimensions, and compared with the same answers."""


def written(rows: Sequence[tuple[Subject, survey.Row]], open_ones: Sequence[Subject]) -> str:
    """The page."""
    return page.written(INTRO.splitlines(), LIBRARIES, ways.WAYS, rows, open_ones)


if __name__ == "__main__":
    imported = ["torch", "torch._dynamo", "torch.onnx", "torchvision", "timm", "transformers", "onnx", "onnxruntime"]
    imported += ["onnxscript", "openvino", "pipeline.cli"]
    survey.command(__doc__, survey.Survey(ways.WAYS, ways.run, imported), ROWS, PAGE, written)
