"""Records what the PyTorch model answers, for every later stage to be held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, StageError, listed
from pipeline.stage import Stage
from stages import _interface, _reference
from stages._interface import Dim, Input
from stages._outputs import named
from stages._reference import Case


@dataclass(frozen=True)
class RecordReference(Stage):
    """Runs the eager module on seeded inputs at several shapes: the example's, the smallest, an odd and the largest."""

    inputs: dict[str, Input]
    dims: dict[str, Dim]
    outputs: list[str]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"module": frozenset({Kind.MODULE})}
    produces: ClassVar[Kind | str] = Kind.REFERENCE
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")

    def problems(self) -> list[Problem]:
        found = _interface.problems(self.inputs, self.dims, self.outputs)
        return (
            found
            if self.seed >= 0
            else [*found, Problem(f"seed is {self.seed}", allowed="0 or more", command="seed=0")]
        )

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        module = inputs["module"].live
        cases = [self._asked(module, label, sizes) for label, sizes in _interface.cases(self.dims).items()]
        blind = [name for name in self.outputs if _is_blind([c.outputs[name] for c in cases])]
        if len(blind) == len(self.outputs):
            raise StageError(
                f"{listed(blind)}: the model answers the same to every input, so comparing with it proves nothing",
                allowed="at least one output that depends on the inputs",
                command="model.weights=/path/to/weights.pth, or another inputs.NAME.fill",
            )
        _reference.write(folder, cases)
        says = f"{len(cases)} shapes" + (f"; {listed(blind)} the same for every input" if blind else "")
        return Artifact(Kind.REFERENCE, folder, notes={"says": says})

    def _asked(self, module: Any, label: str, sizes: Mapping[str, int]) -> Case:
        import torch

        drawn = _interface.draw(self.inputs, sizes, self.seed)
        try:
            with torch.inference_mode():
                # Copies: a model that writes into its input must not change what is recorded.
                returned = module(*(torch.from_numpy(v.copy()) for v in drawn.values()))
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as e:
            raise StageError(self._rejected(drawn, e)) from e
        answers = named(returned, self.outputs)
        return Case(label, drawn, {n: v.contiguous().numpy() for n, v in answers.items()})

    def _rejected(self, drawn: Mapping[str, Any], error: Exception) -> Problem:
        shapes = ", ".join(f"{n} {_interface.says(v.shape)} {v.dtype}" for n, v in drawn.items())
        return Problem(
            f"the model rejects {shapes}: {str(error).strip().splitlines()[0]}",
            allowed="inputs that the model's forward accepts, at every size that dims allows",
            command="model.inputs.NAME.shape=[…] or model.dims.NAME.min=…, .max=…",
        )


def _is_blind(answers: Sequence[Any]) -> bool:
    """Whether an output is the same for every row of every case; False where there are too few rows to tell."""
    rows = [row for answer in answers if answer.ndim for row in answer]
    return len(rows) > 1 and all(r.shape == rows[0].shape and (r == rows[0]).all() for r in rows)
