"""Opens an ONNX file that somebody else exported, in the place of a model, a capture and an export."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Optional, Self

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.stage import Stage, World
from stages import _interface, _onnx_file, _weights
from stages._interface import Dim, Input, Interface, Output

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class OpenOnnx(Stage):
    """Takes a file in as it is: its opset, its names, its weights, external ones from beside it too.

    There is no PyTorch model to be held to, so the file itself, run by onnxruntime, is the reference of what follows.

    Args:
        weights: The file.
        sha256: What it must hash to, 64 hex digits; None accepts any.
        inputs: By name; None for what the graph says. Given, they must be what the graph says.
        dims: The range of each dynamic dimension, by the graph's name for it.
    """

    weights: str
    sha256: Optional[str]  # noqa: UP045 (OmegaConf 2.3 reads Optional, not X | None)
    inputs: Optional[dict[str, Input]]  # noqa: UP045
    dims: dict[str, Dim]

    produces: ClassVar[Kind | str] = Kind.ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx",)

    def problems(self) -> list[Problem]:
        return _interface.problems(self.inputs, self.dims) if self.inputs else []

    def settle(self, world: World) -> Self:
        path = self._path
        digest = self._digest(path, world)
        if self.sha256 not in (None, digest):
            raise ConfigError(
                f"weights={path} has SHA-256 {digest}, the configuration says {self.sha256}",
                command=f"model.sha256={digest} if the new content is meant",
            )
        settled = replace(self, weights=str(path.absolute()), sha256=digest)
        settled.identity(world)  # raises when a file with weights is missing or lies elsewhere
        return settled

    def identity(self, world: World) -> Mapping[str, Any]:
        external = {f: self._digest(self._path.parent / f, world) for f in self._beside(str(self.sha256), world)}
        shapes = None if self.inputs is None else {n: [s.shape, s.dtype] for n, s in self.inputs.items()}
        dims = {n: [d.min, d.opt, d.max, d.multiple] for n, d in self.dims.items()}
        return {"sha256": self.sha256, "external": external, "inputs": shapes, "dims": dims}

    def describe(self) -> str:
        return f"the file with SHA-256 {self.sha256}"

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import onnx

        path = self._path
        _weights.expect(path, str(self.sha256))
        try:
            model = _onnx_file.read(path)
            onnx.checker.check_model(str(path))
        except Exception as e:  # onnx and protobuf raise anything on a damaged file
            raise StageError(
                f"{path.name} is no sound ONNX model: {_first_line(e)}",
                command="compare its size and SHA-256 with the original's",
            ) from e
        interface = self._interface(model)
        opset = _onnx_file.opset(model)
        _onnx_file.hold_to(model, opset, interface)
        facts = {
            **interface.facts,
            "opset": opset,
            "source": {"onnx": self.sha256, "bytes": model.ByteSize()},
            "weights": {"sha256": self.sha256, "says": f"as they are in the ONNX file with SHA-256 {self.sha256}"},
        }
        _onnx_file.strip(model)
        _onnx_file.stamp(model, facts)
        _onnx_file.write(model, folder)
        says = f"opset {opset}, {len(model.graph.node)} nodes, from a file"
        return Artifact(Kind.ONNX, folder, facts=facts, notes={"says": says})

    def _interface(self, model: onnx.ModelProto) -> Interface:
        given = self.inputs or {v.name: Input(_shape(v), _dtype(v)) for v in _onnx_file.inputs(model)}
        used = {d for spec in given.values() for d in spec.axes.values()}
        if missing := sorted(used - set(self.dims)):
            raise ConfigError(
                f"dims has no {listed(missing)}, which the file's inputs have: "
                + listed(f"{n} {s.shape}" for n, s in given.items()),
                allowed="a range for each",
                command=f"'+model.dims.{missing[0]}={{min: 1, opt: 2, max: 8}}'",
            )
        outputs = {v.name: Output([v.name], self._followed(_shape(v)), _dtype(v)) for v in model.graph.output}
        return Interface(given, self.dims, outputs)

    def _followed(self, shape: list[Any]) -> list[Any]:
        return [d if d in self.dims or isinstance(d, int) else None for d in shape]

    @property
    def _path(self) -> Path:
        return Path(self.weights).expanduser()

    def _digest(self, path: Path, world: World) -> str:
        try:
            return world.digest(path)
        except OSError as e:
            wrong = f"weights={path} cannot be read: {e.strerror}"
            raise ConfigError(wrong, allowed="an .onnx file", command="model.weights=net.onnx") from e

    def _beside(self, digest: str, world: World) -> list[str]:
        """The files with weights that the graph names, each inside the graph's own folder.

        What a file of this digest names never changes, so it is looked up once and not on every run.
        """
        fact = f"external data of {digest}"
        if (known := world.recall(fact, math.inf)) is None:
            try:
                model = _onnx_file.read(self._path, weights=False)
            except Exception as e:  # protobuf raises anything
                raise ConfigError(f"weights={self._path} is no ONNX model: {_first_line(e)}") from e
            known = json.dumps(_onnx_file.files_beside(model))
            world.remember(fact, known)
        names: list[str] = json.loads(known)
        folder = self._path.parent.resolve()
        outside = [n for n in names if not (folder / n).resolve().is_relative_to(folder) or Path(n).is_absolute()]
        if outside:
            raise ConfigError(
                f"weights={self._path} wants to read {listed(outside)}, which is outside its folder",
                allowed="weights in the same folder as the .onnx file",
                command="save the model again with its weights beside it",
            )
        return names


def _shape(value: onnx.ValueInfoProto) -> list[Any]:
    return [
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"{value.name}_dim{i}"
        for i, d in enumerate(value.type.tensor_type.shape.dim)
    ]


def _dtype(value: onnx.ValueInfoProto) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
