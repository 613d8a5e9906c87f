"""The decoder of `decoders` with a cache of a fixed length, its Core ML packages, and faults planted in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import conversions
import decoders
import torch
from harness import run_stage, shipped

from pipeline.artifact import Artifact
from stages.coreml import package as package_files
from stages.interface.generation import ATTENTION, Cache
from stages.interface.interface import Dim, Input

LENGTH = 32
NAMES = [f"{what}_cache_{n}" for n in range(decoders.LAYERS) for what in ("key", "value")]
SHAPE = (1, decoders.HEADS, LENGTH, decoders.WIDTH // decoders.HEADS)
INPUTS = {
    "input_ids": Input([1, "sequence"], "int64", {"integers": [0, decoders.VOCABULARY]}),
    "position": Input([1], "int64", {"integers": [0, LENGTH - 8 + 1]}),
    **{n: Input(list(SHAPE), "float32", {"cache": f"{n}_new"}) for n in NAMES},
}
DIMS = {"sequence": Dim(1, 3, 8)}
GENERATION = replace(
    decoders.GENERATION, positions=LENGTH, cache=[Cache(n, f"{n}_new", ATTENTION, None) for n in NAMES]
)


class Fixed(decoders.Decoder):
    """Writes keys and values at `position`; those behind are masked."""

    def forward(self, input_ids: Any, position: Any, *past: Any) -> Any:
        places = position + torch.arange(input_ids.shape[1])
        x = self.tokens(input_ids) + self.places(places)[None]
        visible = torch.arange(LENGTH)[None, :] <= places[:, None]
        present: list[Any] = []
        for n in range(decoders.LAYERS):
            q, *new = (self._heads(t) for t in self.mixed[n](x).chunk(3, -1))
            k, v = (past[2 * n + i].index_copy(2, places, t) for i, t in enumerate(new))
            weight = (q @ k.transpose(2, 3) * 0.25).masked_fill(~visible, -1e4).softmax(-1)
            x = x + self.out[n]((weight @ v).transpose(1, 2).flatten(2)).tanh()
            present += [k, v]
        return self.head(x), *present


def package(folder: Path, compute: str = "float32", **settings: Any) -> Artifact:
    """Its package, with the cache as inputs and outputs; the reference is in `folder`/reference."""
    outputs = ["logits", *(f"{n}_new" for n in NAMES)]
    program = conversions.capture("trace", Fixed(), folder, inputs=INPUTS, dims=DIMS, outputs=outputs)
    converted = conversions.coreml(program, folder / "package", compute=compute, **settings)
    return replace(converted, facts={**converted.facts, **GENERATION.facts})


def stateful(artifact: Artifact, folder: Path) -> Artifact:
    """A package with its cache in states."""
    return run_stage(shipped("make_stateful_coreml"), artifact, folder)


def folder_of(artifact: Artifact, folder: Path) -> Artifact:
    """The folder of a stateful package."""
    return run_stage(shipped("lay_out_coreml"), artifact, folder)


def changed(artifact: Artifact, folder: Path, change: Callable[[Any], None]) -> Artifact:
    """A package whose operations a function has changed."""
    shutil.copytree(artifact.folder, folder)  # type: ignore[arg-type]
    (folder / "model.mlpackage").chmod(0o755)
    spec = package_files.spec_of(folder / "model.mlpackage")
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    change(block)
    path = folder / "model.mlpackage" / package_files.MODEL
    path.unlink()
    path.write_bytes(spec.SerializeToString())
    return replace(artifact, folder=folder)


def written_one_on(block: Any) -> None:
    """Writes the cache one position after the token's."""
    constant = next(op for op in block.operations if op.type == "const" and _is_one(op))
    sums = [op for op in block.operations if op.type == "add" and "position" in _read(op)]
    counted = {o.name for op in block.operations if op.type == "range_1d" for o in op.outputs}
    ends = [
        op for op in sums if not counted & {*_read(op)}
    ]  # the end of the slice; the other input has the positions of tokens
    later = type(ends[0])()
    later.CopyFrom(ends[0])
    later.outputs[0].name = "one_on"
    later.inputs["y"].arguments[0].name = constant.outputs[0].name
    for op in (*ends, *(op for op in block.operations if op.type == "concat")):
        for binding in (b for bound in op.inputs.values() for b in bound.arguments if b.name == "position"):
            binding.name = "one_on"
    place = next(n for n, op in enumerate(block.operations) if op is not constant and "one_on" in _read(op))
    operations = [type(op).FromString(op.SerializeToString()) for op in block.operations]
    del block.operations[:]
    block.operations.extend([*operations[:place], later, *operations[place:]])


def masked_one_short(block: Any) -> None:
    """Masks a token from itself."""
    (compared,) = (op for op in block.operations if op.type == "less_equal")
    compared.type = "less"


def _read(operation: Any) -> list[str]:
    return [b.name for bound in operation.inputs.values() for b in bound.arguments]


def _is_one(operation: Any) -> bool:
    value = operation.attributes["val"]
    return list(value.immediateValue.tensor.ints.values) == [1] and not value.type.tensorType.rank
