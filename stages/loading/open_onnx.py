"""Opens an ONNX file that somebody else exported, in the place of a model, a capture and an export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, StageError
from pipeline.notes import Facts, Weights
from pipeline.stage import FilePath, World, digest_of
from stages.interface import interface as model_interface
from stages.interface.interface import Dim, Input, Interface, Output, Ranges, Shapes
from stages.loading import shards, weights
from stages.loading.pinned import SHA256, Pinned
from stages.onnx import file as onnx_file
from stages.onnx.format import ONNX
from stages.portable.said import first_line

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class OpenOnnx(Pinned):
    """Takes a file in as it is: its opset, its names, its metadata, its weights, those beside it too.

    There is no PyTorch model to be held to, so the file itself, run by onnxruntime, is the reference of what follows.

    Args:
        weights: The file.
        sha256: What it must hash to, 64 hex digits; None accepts any. With weights beside it, see shards.digest.
        inputs: By name; None for what the graph says. Given, they must be what the graph says.
        dims: The range of each dynamic dimension, by the graph's name for it.
    """

    weights: Annotated[str, FilePath()]
    sha256: Annotated[Optional[str], SHA256]
    inputs: Annotated[Optional[dict[str, Input]], Shapes()]
    dims: Annotated[dict[str, Dim], Ranges()]

    produces: ClassVar[Kind | str] = ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx",)

    def conflicts(self) -> Iterable[Problem]:
        return model_interface.problems(self.inputs, self.dims) if self.inputs else ()

    def located(self, world: World) -> tuple[Path, str]:
        path = self._path.absolute()

        def one(file: Path) -> str:
            return digest_of(file, world, f"weights={file}", allowed="an .onnx file", command="model.weights=net.onnx")

        names = onnx_file.beside(path, one(path), world, "weights")
        return path, shards.digest([path, *(path.parent / n for n in names)], one)

    def describe(self) -> str:
        return f"the file with SHA-256 {self.sha256}"

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import onnx

        path = self._path
        try:
            names = onnx_file.files_beside(onnx_file.read(path, weights=False))
            found = shards.digest([path, *(path.parent / n for n in names)], weights.content)
            weights.expect(path, str(self.sha256), found)
            model = onnx_file.read(path)
            onnx.checker.check_model(str(path))
        except StageError:
            raise
        except Exception as e:  # onnx and protobuf raise anything on a damaged file
            raise StageError(
                f"{path.name} is no sound ONNX model: {first_line(e)}",
                command="compare its size and SHA-256 with the original's",
            ) from e
        interface = self._interface(model)
        opset = onnx_file.opset(model)
        onnx_file.hold_to(model, opset, interface)
        came = Weights(sha256=self.sha256, says=f"as they are in the ONNX file with SHA-256 {self.sha256}")
        facts = {
            **interface.facts,
            "opset": opset,
            **Facts(source={"onnx": self.sha256, "bytes": model.ByteSize()}, weights=came),
        }
        onnx_file.stamp(model, facts)
        onnx_file.write(model, folder)
        says = f"opset {opset}, {len(model.graph.node)} nodes, from a file"
        return Artifact(ONNX, folder, facts=facts, notes={"says": says})

    def _interface(self, model: onnx.ModelProto) -> Interface:
        given = self.inputs or {v.name: Input(_shape(v), _dtype(v)) for v in onnx_file.inputs(model)}
        model_interface.hold_dims(given, self.dims)
        outputs = {v.name: Output([v.name], self._followed(_shape(v)), _dtype(v)) for v in model.graph.output}
        return Interface(given, self.dims, outputs)

    def _followed(self, shape: list[Any]) -> list[Any]:
        return [d if d in self.dims or isinstance(d, int) else None for d in shape]

    @property
    def _path(self) -> Path:
        return Path(self.weights).expanduser()


def _shape(value: onnx.ValueInfoProto) -> list[Any]:
    return [
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"{value.name}_dim{i}"
        for i, d in enumerate(value.type.tensor_type.shape.dim)
    ]


def _dtype(value: onnx.ValueInfoProto) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
