"""Delivers what a host with a GPU needs to build a TensorRT engine and check it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, StageError, listed
from pipeline.stage import Keep
from stages.delivery import bundle, engine_readme
from stages.delivery.name import FileName
from stages.formats import graphs
from stages.interface.images import Preprocessing
from stages.onnx.format import ONNX
from stages.portable import handed_over
from stages.tensorrt import readiness
from stages.tensorrt.settings import EngineSettings

SCRIPT, MANIFEST = "build.py", "manifest.json"
OLDEST = "10.13"  # the oldest release whose Python API and parser's table were compared with ours


@dataclass(frozen=True)
class BundleTensorrt(EngineSettings):
    """The checked graph, profiles, the reference in the graph's own terms, and one script that does the rest.

    The script verifies the files, builds the engine, compares it with the reference within the tolerance of the graph's
    own check, times it, and writes the portability card. It needs TensorRT, numpy, and torch or cuda-python.

    Args:
        name: The name of the graph and the engine, without suffix.
        releases: The releases of TensorRT, 10 and 11, that the script accepts.
        license: The model's license, for the README; None where it is not stated.
        preprocessing: The preprocessing of photographs, for the README; None where it is not stated.
    """

    name: Annotated[str, FileName()]
    releases: Annotated[list[str], readiness.SOME_RELEASES]
    license: Optional[str]
    preprocessing: Optional[Preprocessing]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": frozenset({ONNX}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.DELIVERY
    requires: ClassVar[tuple[str, ...]] = ("onnx", "numpy", "safetensors")
    keep: ClassVar[Keep] = Keep.DELIVERED

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        graph, reference = inputs["artifact"], inputs["reference"]
        if graph.record is None or "tolerance" not in (handed_over.verdict(graph.record) or {}):
            raise StageError(
                "a bundle needs the tolerance of the graph's check, and no check of it is on record",
                command="put a check before save",
            )
        assert graph.folder is not None
        file = f"{self.name}.onnx"
        copies = {file: graph.file.name}
        # Weights that are beside the graph keep the name that it has for them.
        copies |= {p.name: p.name for p in graph.folder.glob(f"{graph.file.name}.data")}
        for copy, original in copies.items():
            graph.copy(original, folder / copy)
        cases = bundle.cases(graph, reference)
        bundle.write_cases(cases, folder / bundle.REFERENCE)
        manifest = self._manifest(graph, file)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (folder / SCRIPT).write_text(bundle.script("tensorrt.host.build_script"), encoding="utf-8")
        readme = engine_readme.EngineReadme(graph, file, cases, self.license, 0, self.preprocessing)
        (folder / bundle.README).write_text(str(readme), encoding="utf-8")
        return Artifact(Kind.DELIVERY, folder, notes={"file": file, "copies": copies, "bundle": True})

    def _manifest(self, graph: Artifact, file: str) -> dict[str, Any]:
        """What the script must build. The SHA-256 of all files are in artifact.json, this file's too."""
        assert graph.record is not None
        claim = handed_over.verdict(graph.record) or {}
        plan = {**asdict(self.plan(graph, types=[self._type(graph)])), "timing_cache": None}
        return {
            "model": graph.record["model"],
            "precision": graph.record["precision"]["name"],
            "graph": file,
            "reference": bundle.REFERENCE,
            "against": claim["against"],
            "tolerance": claim["tolerance"],
            "tensorrt": {"from": OLDEST, "releases": list(self.releases)},
            "plan": plan,
        }

    def _type(self, graph: Artifact) -> str:
        """The requested type of the graph's operations. Raises CheckFailed where no operation computes in it."""
        requested = "int8" if "quantization" in graph.facts else str(graph.facts.get("storage", "float32"))
        counts = graphs.read(graph).operations()
        if counts and requested not in counts:
            raise CheckFailed(f"asked for {requested}, and no operation of the graph computes in it: {listed(counts)}")
        return requested
