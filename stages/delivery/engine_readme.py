"""The README of a bundle from which a host with a GPU builds a TensorRT engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.delivery import bundle
from stages.delivery.readme import Readme

BUILD = """\
```
python build.py                 # TensorRT's Python API
python build.py --with trtexec  # or trtexec; the Python API still checks the engine
```"""
CODES = """\
| code | meaning |
| --- | --- |
| 0 | the engine is there and agrees |
| 2 | wrong usage |
| 3 | it cannot be built or run: the lines name the node, or repeat what TensorRT says |
| 4 | TensorRT, a GPU or numpy is not there, or of a version that this is not for |
| 5 | a file is not what was handed over, or the engine does not agree; a wrong engine is removed |
| 130 | interrupted |"""


@dataclass(frozen=True)
class EngineReadme(Readme):
    """The README's text."""

    def _loading(self) -> Iterator[str]:
        yield "## Building it"
        yield (
            "On the host whose GPU it is for, with Python 3.11 or later, TensorRT, numpy, and torch built for CUDA or "
            "cuda-python (`python -m pip install tensorrt-cu13 numpy cuda-python`):"
        )
        yield BUILD
        stem = self.file.removesuffix(".onnx")
        yield (
            f"That verifies every file, builds `{stem}.engine`, holds it to `{bundle.REFERENCE}` within the tolerance "
            f"below, times it, and writes `{stem}.json`: what the engine is tied to and where it runs. `manifest.json` "
            "has what is asked of the engine: profiles, flags, versions; `--help` has the rest. Nobody has run it on a "
            "GPU before it was handed over: this is the first check of the engine, and the graph's is below."
        )
        yield CODES

    def _checking(self) -> Iterator[str]:
        claim = self._claim
        limits = ", ".join(f"{n} {v:g}" for n, v in claim["tolerance"].items() if isinstance(v, float | int))
        yield "## Checked"
        yield f"The graph agrees with {claim['against']} at {', '.join(claim['shapes'])}, on onnxruntime: {limits}."
