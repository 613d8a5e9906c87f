"""Opens a model file of another framework, instead of loading and capturing a model: a compiler reads it directly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import Problem, StageError
from pipeline.notes import Facts, Notes, Weights
from pipeline.stage import FilePath, Matches, Setting, World, digest_of
from stages.formats import graphs
from stages.formats.extensions import Extensions
from stages.frameworks import formats as file_formats
from stages.frameworks.format import FILE
from stages.interface import interface as model_interface
from stages.interface import ports
from stages.interface.interface import Dim, Input, Interface, Output, Ranges, Shapes
from stages.interface.ports import Port
from stages.loading import shards, weights
from stages.loading.pinned import SHA256, Pinned
from stages.onnx import file as onnx_file
from stages.openvino import library as openvino_library
from stages.openvino import types as openvino_types
from stages.portable.vendor_errors import first_line

OPEN = -1  # a size that depends on values, and is known only after the model has run


class OurNames(Setting):
    """New names of inputs and outputs, each with its name in the file."""

    def problems(self, name: str, value: Mapping[str, str]) -> Iterable[Problem]:
        allowed = "letters, digits, underscores, no word of Python's"
        return [Problem(f"{name} has '{n}'", allowed) for n in value if not model_interface.is_name(n)]


@dataclass(frozen=True)
class OpenFile(Pinned):
    """Takes an ONNX, TensorFlow, TensorFlow Lite or PaddlePaddle file; none of these need be installed.

    OpenVINO reads the file's inputs and outputs. The YAML states what the file leaves open.

    Args:
        path: The file, or the folder of a SavedModel. PaddlePaddle's .pdiparams must be beside the .pdmodel.
        sha256: The SHA-256 that it must have, 64 hex digits; None accepts any. For several files, see shards.digest.
        names: The new name of an input or output, and its name in the file; others have the file's names, with
            underscores for characters that no target takes.
        inputs: The inputs by name; None for those of the file.
        dims: The range of each dynamic dimension, by its name in a shape; a dimension that the file leaves open and
            that no shape names is named after its place, such as image_dim0.
        extensions: Operations that OpenVINO does not have by itself, by path; see compile_openvino.

    Source: https://docs.openvino.ai/2026/openvino-workflow/model-preparation.html
    """

    path: Annotated[str, FilePath(), Matches(".+", file_formats.ALLOWED, "model.path=/path/to/net.tflite")]
    sha256: Annotated[Optional[str], SHA256]
    names: Annotated[dict[str, str], OurNames()]
    inputs: Annotated[Optional[dict[str, Input]], Shapes()]
    dims: Annotated[dict[str, Dim], Ranges()]
    extensions: Annotated[list[str], Extensions()]

    named_by: ClassVar[str] = "path"
    produces: ClassVar[Kind | str] = FILE
    requires: ClassVar[tuple[str, ...]] = ("openvino",)

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        # onnx lists the files beside a graph; other formats do not depend on it.
        return (*super().modules(kinds), *(["onnx"] if self._path.suffix == ".onnx" else []))

    def conflicts(self) -> Iterable[Problem]:
        return model_interface.problems(self.inputs, self.dims) if self.inputs else ()

    def located(self, world: World) -> tuple[Path, str]:
        path = self._path.absolute()

        def one(file: Path) -> str:
            return digest_of(file, world, f"path={path}: {file.name}")

        files = file_formats.files(path, lambda graph: onnx_file.beside(graph, one(graph), world, "path"))
        return path, _digest(path, files, one)

    def identity(self, world: World) -> Mapping[str, Any]:
        return {**super().identity(world), "format": file_formats.recognised(self._path)}

    def describe(self) -> str:
        return f"the file with SHA-256 {self.sha256}"

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        path = self._path
        name = file_formats.recognised(path)
        files = file_formats.files(path, lambda graph: onnx_file.files_beside(onnx_file.read(graph, weights=False)))
        weights.expect(path, str(self.sha256), _digest(path, files, weights.content), "path")
        for called, file in file_formats.copies(path, files).items():
            (folder / called).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / called)
        says = file_formats.FORMATS[name].says
        size = sum(f.stat().st_size for f in files)
        source = {"file": self.sha256, "format": name, "bytes": size}
        came = Weights(sha256=self.sha256, says=f"as they are in the {says} with SHA-256 {self.sha256}")
        facts: dict[str, Any] = {**Facts(source=source, weights=came)}
        model = openvino_library.read(file_formats.file_of(Artifact(FILE, folder, facts)), says, self.extensions)
        if not model.outputs:
            raise StageError(f"{path.name} holds no model: it has no outputs", command="copy or download it again")
        narrow = openvino_types.of_model(model).narrow
        input_ports, output_ports = ports.by_name(
            ports.read(model.inputs, "input"), ports.read(model.outputs, "output"), self.names
        )
        specs = ports.inputs(input_ports, self.inputs or None, self.dims)
        interface = Interface(specs, self.dims, _outputs(model, specs, self.dims, output_ports))
        facts[graphs.ITS_OWN] = narrow
        facts |= {
            **interface.facts,
            file_formats.THEIR_NAMES: {n: p.theirs for n, p in {**input_ports, **output_ports}.items()},
        }
        notes: Notes = {"says": f"{says}; " + ", ".join(f"{n} {s.shape}" for n, s in specs.items())}
        if bent := ports.reshaped(specs, input_ports):
            notes["caution"] = f"reshaped {'; '.join(bent)}: the file itself has no such sizes"
        return Artifact(FILE, folder, facts=facts, notes=notes)

    @property
    def _path(self) -> Path:
        return Path(self.path).expanduser()


def _digest(path: Path, files: Sequence[Path], one: Callable[[Path], str]) -> str:
    return shards.digest(files, one, path if path.is_dir() else None)


def _outputs(
    model: Any, specs: Mapping[str, Input], dims: Mapping[str, Dim], output_ports: Mapping[str, Port]
) -> dict[str, Output]:
    """The outputs with their dimensions, from OpenVINO's shape inference at each size that will be checked."""
    sizes = model_interface.cases(dims)
    shapes: dict[str, dict[str, list[int]]] = {name: {} for name in output_ports}
    for label, at in sizes.items():
        _reshape(model, [spec.at(at) for spec in specs.values()])
        for name, port in zip(output_ports, ports.read(model.outputs, "output"), strict=True):
            if port.shape is None:
                raise StageError(f"the file does not say how many dimensions its output '{name}' has")
            shapes[name][label] = [OPEN if d is None else d for d in port.shape]
    return {n: Output([n], _followed(shapes[n], sizes), port.dtype) for n, port in output_ports.items()}


def _followed(shapes: Mapping[str, Sequence[int]], sizes: Mapping[str, Mapping[str, int]]) -> list[Any]:
    return [None if d == OPEN else d for d in model_interface.output_shape(shapes, sizes)]


def _reshape(model: Any, shapes: Sequence[Sequence[int]]) -> None:
    try:
        model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
    except Exception as e:  # OpenVINO raises its own for an operator that a size does not fit
        sizes = ", ".join(map(model_interface.says, shapes))
        raise StageError(
            f"the file cannot take inputs of {sizes}: {first_line(e)}",
            allowed="sizes that the file's operators have",
            command="model.inputs.NAME.shape=[…], model.dims.NAME.min=…, .max=…",
        ) from e
