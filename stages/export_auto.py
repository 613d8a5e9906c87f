"""Exports the module to ONNX by the first capture that serves: torch.export, then trace, then script."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.artifact import FILES, Artifact, Kind
from pipeline.errors import CheckFailed, DrydockError, Problem, StageError, listed
from pipeline.stage import Stage, World
from stages import _captures, _exporters, _opsets, _parity, _translations
from stages._compare import Tolerance
from stages._exporters import Options
from stages._interface import Interface
from stages.runtimes import session

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportAuto(Stage):
    """Captures and exports in one stage, since a capture serves only if its graph is written and agrees with the model.

    A trace that fixed a branch, for instance, is found out at another shape, and script is tried. The result says which
    capture served, and the notes why the others did not. A capture whose exporter does not write the opset is not
    tried.

    Args:
        opset: What the file declares; read back from it.
        translations: For the dynamo exporter: operator to the dotted path of an onnxscript function.
        symbolics: For the TorchScript exporter: operator to the dotted path of a symbolic function.
        keep_source: Whether nodes keep the stack traces of the model's code, absolute paths and all.
        tolerance: How far the graph's outputs may be from the reference.
    """

    opset: int
    translations: dict[str, str]
    symbolics: dict[str, str]
    keep_source: bool
    tolerance: Tolerance

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
    }
    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime", "safetensors")

    def problems(self) -> list[Problem]:
        found = [Problem(f"tolerance.{wrong}", allowed=allowed) for wrong, allowed in self.tolerance.out_of_range()]
        found += _translations.problems(self.translations, overloads=True)
        found += _translations.problems(self.symbolics, overloads=False)
        return found + _opsets.problems(self.opset, "no exporter writes", _opsets.EITHER, range(0), "")

    def settle(self, world: World) -> Self:
        _translations.settle({**self.translations, **self.symbolics}, world)
        return self

    def identity(self, world: World) -> Mapping[str, Any]:
        named = {name: _translations.identity(getattr(self, name), world) for name in ("translations", "symbolics")}
        return {**asdict(self), **named}

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        refused: dict[str, DrydockError] = {}
        for capture, opsets in (
            ("export", _opsets.DYNAMO),
            ("trace", _opsets.TORCHSCRIPT),
            ("script", _opsets.TORCHSCRIPT),
        ):
            if self.opset not in opsets:
                continue
            attempt = folder / capture
            attempt.mkdir()
            try:
                made, caution = self._by(capture, inputs, attempt)
                self._hold_to(inputs["reference"], made)
            except DrydockError as e:
                refused[capture] = e
                shutil.rmtree(attempt)
                log.info("capture=%s does not serve: %s", capture, e.problems[0].what)
                continue
            for path in attempt.iterdir():
                path.rename(folder / path.name)
            attempt.rmdir()
            why = "".join(f"; not {name}: {e.problems[0].what}" for name, e in refused.items())
            notes = {"says": f"by {capture}: {made.notes['says']}{why}", "caution": caution}
            return Artifact(Kind.ONNX, folder, facts={**made.facts, "capture": capture}, notes=notes)
        raise StageError([p.at(f"capture={name}: ") for name, e in refused.items() for p in e.problems]) from (
            next(reversed(refused.values()))
        )

    def _hold_to(self, reference: Artifact, made: Artifact) -> None:
        try:
            running = session.open_session(made, "float32")
        except DrydockError:
            raise
        except Exception as e:  # a runtime raises anything
            raise CheckFailed(f"onnxruntime cannot load its graph: {(str(e).splitlines() or [''])[0]}") from e
        found = _parity.measure(made, running, reference, self.tolerance)
        if found.wrong:
            raise CheckFailed(f"its graph does not agree with the model: {listed(found.wrong, 1)}")

    def _by(self, capture: str, inputs: Mapping[str, Artifact], folder: Path) -> tuple[Artifact, str]:
        import torch

        module, reference = inputs["module"].live, inputs["reference"]
        source = Artifact(
            Kind.MODULE, facts={**inputs["module"].facts, **Interface.of(reference).facts, "capture": capture}
        )
        if capture == "export":
            program = _captures.exported(module, reference)
            options = Options(self.translations, self.keep_source)
            return _exporters.by_dynamo(program, source, self.opset, options, folder), ""
        fixed: list[str] = []
        captured: Any
        if capture == "trace":
            captured, fixed = _captures.traced(module, reference)
        else:
            captured = _captures.scripted(module, reference)
        # Through a file, as by_torchscript wants it.
        path = folder / FILES[Kind.TORCHSCRIPT]
        _captures.save(captured, path)
        captured = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
        path.unlink()
        options = Options(self.symbolics, self.keep_source)
        made = _exporters.by_torchscript(captured, source, reference, self.opset, options, folder)
        return made, _captures.caution(fixed)
