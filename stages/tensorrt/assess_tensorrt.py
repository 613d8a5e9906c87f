"""Predicts, without TensorRT, whether its parser accepts a graph, and fails where no engine can be built."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import StageError
from pipeline.notes import Notes
from pipeline.stage import Stage
from stages.interface.interface import Interface
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.tensorrt import profiles, readiness
from stages.tensorrt.profiles import Profiles
from stages.tensorrt.readiness import Finding

MOST = 10  # findings in a message


class AssessNotes(Notes):
    """Notes with how often each operator occurs, and remarks about some."""

    readiness: Mapping[str, Any]


@dataclass(frozen=True)
class AssessTensorrt(Stage):
    """The readiness report: compares operators, types, opset, plugins and profiles with the parser's published table.

    The table says what the parser accepts; only a build proves it. The graph is passed on unchanged.

    Args:
        releases: Releases of TensorRT, 10 and 11; a problem with any of them is reported.
        plugins: Types of operators for which the engine's hosts have plugins.
        profiles: The profiles of the engine; see stages/tensorrt/profiles.py.
    """

    releases: Annotated[list[str], readiness.SOME_RELEASES]
    plugins: list[str]
    profiles: Annotated[Optional[list[Any]], Profiles()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"graph": frozenset({ONNX})}
    produces: ClassVar[Kind | str] = "graph"
    requires: ClassVar[tuple[str, ...]] = ("onnx",)
    isolable: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["graph"]
        model = onnx_file.read(source.file, weights=False)
        profiles.resolve(self.profiles, Interface.read(source))  # raises for sizes that were not checked
        findings = readiness.findings(model, self.releases, self.plugins)
        fatal = [f for f in findings if f.fatal]
        if fatal:
            raise StageError(
                f"TensorRT {' and '.join(self.releases)} will build no engine of this graph:\n    {_first(fatal)}",
                allowed="the operators, types and opsets of the parser's table: " + _sources(self.releases),
                command=_command(fatal),
            )
        kinds = collections.Counter(n.op_type for n in onnx_file.nodes(model))
        remarks = [str(f) for f in findings]
        says = f"TensorRT {' and '.join(self.releases)}: all {kinds.total()} nodes are in the parser's table"
        notes = AssessNotes(
            says=says + (f"; {len(remarks)} remarks" if remarks else ""),
            readiness={"operators": dict(kinds.most_common()), "remarks": remarks},
            claims={"readiness": {"releases": [*self.releases], "table": _sources(self.releases), "remarks": remarks}},
        )
        if findings:
            notes["caution"] = _first(findings)
        return replace(source, notes=notes)


def _first(findings: Sequence[Finding]) -> str:
    lines = [str(f) for f in findings[:MOST]]
    more = [f"… and {len(findings) - MOST} more"] if len(findings) > MOST else []
    return "\n    ".join([*lines, *more])


def _sources(releases: Sequence[str]) -> str:
    return "; ".join(f"{release}: {readiness.table(release).source}" for release in releases)


def _command(findings: Sequence[Finding]) -> str:
    operators: dict[str, Any] = dict.fromkeys(f.operator.rpartition("::")[2] for f in findings if f.operator)
    plugins = f"stages.assess.plugins=[{','.join(operators)}] where the host has plugins, or " if operators else ""
    return f'{plugins}another opset or release (target.releases=["11"]), or a translation of the operator'
