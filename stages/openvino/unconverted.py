"""Reports what OpenVINO could not convert: its own message, and the model's lines that call those operators."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, listed
from stages.capture import unsupported
from stages.capture.unsupported import Missing
from stages.onnx import file as onnx_file

# TensorFlow Lite's reader has translators, PaddlePaddle's creators.
NO_RULE = re.compile(r"(?:No conversion rule found for operations:|No (?:translator|creator) found for) (.*)")
FAILED = re.compile(r"Conversion is failed for: (.*)")

COMPLEX = "ComplexTypeMark"


def tells(error: Exception) -> bool:
    """Whether an error of convert_model is about operators, rather than about a damaged file."""
    return bool(NO_RULE.search(str(error)) or FAILED.search(str(error)))


def operators(error: Exception) -> list[str]:
    """The operators that an error of convert_model names, such as aten.logcumsumexp.default."""
    return [name for pattern in (NO_RULE, FAILED) for name in _names(pattern, str(error))]


def report(program: Any, error: Exception) -> StageError:
    """The error to raise from an error of convert_model.

    Args:
        program: The converted program: a torch.export program, a ScriptModule, or the path of a file.
        error: The error.
    """
    lacking, failed = (_names(pattern, str(error)) for pattern in (NO_RULE, FAILED))
    own = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Check '")]
    quote = f"\n    OpenVINO says: {listed(own, 6)}"
    places = "".join(f"\n    {m.operator}: {m.place}" for m in _places(program, lacking or failed) if m.place)
    # A file came through ONNX already, or never will.
    elsewhere = [] if isinstance(program, Path) else ["route=onnx or route=auto, whose exporter may know more"]
    if elsewhere and COMPLEX in str(error):  # ONNX has no complex numbers; a trace has pairs of numbers instead
        elsewhere = ["route=auto capture=auto: a trace has pairs of numbers instead of complex ones"]
    if not lacking:
        return StageError(f"OpenVINO cannot convert the model{places}{quote}", command="".join(elsewhere))
    return StageError(
        f"OpenVINO has no conversion rule for {listed(lacking)}{places}{quote}",
        allowed="the operators of its front end, and those of target.extensions",
        command="; ".join([*elsewhere, "'target.extensions=[PATH]'"]),
    )


def _names(pattern: re.Pattern[str], text: str) -> list[str]:
    names = [name.strip() for group in pattern.findall(text) for name in group.split(",")]
    return list(dict.fromkeys(re.sub(r" node\.?$", "", name) for name in names))


def _places(program: Any, names: Sequence[str]) -> list[Missing]:
    """The operators, each with the first line of the model, or the first node of a graph, that calls it."""
    first: dict[str, str] = {}
    for name, place in _nodes(program) if isinstance(program, Path) else _calls(program):
        if not first.get(name):
            first[name] = place
    return [Missing(name, first.get(name, "")) for name in names]


def _nodes(path: Path) -> Iterator[tuple[str, str]]:
    """The operators of an ONNX graph, by OpenVINO's names, and their nodes; nothing for other files."""
    if path.suffix != ".onnx":
        return
    model = onnx_file.read(path, weights=False)
    versions = {o.domain: o.version for o in model.opset_import}
    for node in onnx_file.nodes(model):
        standard = node.domain in ("", "ai.onnx")
        name = f"{node.op_type}-{versions.get(node.domain, '')}" if standard else f"{node.domain}.{node.op_type}"
        yield name, f"node '{node.name}' of the graph"


def _calls(program: Any) -> Iterator[tuple[str, str]]:
    """The operators of a program and where the model calls them; of an exported one, also after decomposition."""
    if hasattr(program, "graph_module"):
        for one in (program, program.run_decompositions()):
            for node in unsupported.calls(one):
                yield str(node.target), unsupported.place_of(node)
        return
    for node in unsupported.nodes(program.inlined_graph):
        yield node.kind(), unsupported.place(node.sourceRange())
