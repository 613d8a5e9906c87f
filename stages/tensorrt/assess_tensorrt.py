"""Says, without TensorRT, what its parser will make of a graph, and stops where no engine can come of it."""

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

MOST = 10  # findings that a message has


class AssessNotes(Notes):
    """Notes with how often each operator occurs, and what is to be known of some."""

    readiness: Mapping[str, Any]


@dataclass(frozen=True)
class AssessTensorrt(Stage):
    """The readiness report: each operator against the parser's published table, types, opset, plugins, profiles.

    The table says what the parser takes; only a build shows that it is so. The graph goes on as it is.

    Args:
        releases: Of TensorRT, 10 and 11: what one of them lacks is found.
        plugins: Types of operators that the hosts of the engine have plugins for.
        profiles: As the engine will have them; see stages/tensorrt/profiles.py.
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
        profiles.resolved(self.profiles, Interface.read(source))  # raises for sizes that nothing was checked at
        found = readiness.findings(model, self.releases, self.plugins)
        fatal = [f for f in found if f.fatal]
        if fatal:
            raise StageError(
                f"TensorRT {' and '.join(self.releases)} will build no engine of this graph:\n    {_told(fatal)}",
                allowed="the operators, types and opsets of the parser's table: " + _sources(self.releases),
                command=_command(fatal),
            )
        kinds = collections.Counter(n.op_type for n in onnx_file.nodes(model))
        remarks = [str(f) for f in found]
        says = f"TensorRT {' and '.join(self.releases)}: all {kinds.total()} nodes are in the parser's table"
        notes = AssessNotes(
            says=says + (f"; {len(remarks)} remarks" if remarks else ""),
            readiness={"operators": dict(kinds.most_common()), "remarks": remarks},
            claims={"readiness": {"releases": [*self.releases], "table": _sources(self.releases), "remarks": remarks}},
        )
        if found:
            notes["caution"] = _told(found)
        return replace(source, notes=notes)


def _told(found: Sequence[Finding]) -> str:
    lines = [str(f) for f in found[:MOST]]
    more = [f"… and {len(found) - MOST} more"] if len(found) > MOST else []
    return "\n    ".join([*lines, *more])


def _sources(releases: Sequence[str]) -> str:
    return "; ".join(f"{release}: {readiness.table(release).source}" for release in releases)


def _command(found: Sequence[Finding]) -> str:
    operators: dict[str, Any] = dict.fromkeys(f.operator.rpartition("::")[2] for f in found if f.operator)
    named = f"stages.assess.plugins=[{','.join(operators)}] where the host has plugins, or " if operators else ""
    return f'{named}another opset or release (target.releases=["11"]), or a translation of the operator'
