"""Opens an ONNX file that somebody else exported, instead of loading, capturing and exporting a model."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError, listed
from pipeline.notes import Facts, Weights
from pipeline.stage import FilePath, World, digest_of
from stages.formats import graphs
from stages.interface import fills, typed
from stages.interface import interface as model_interface
from stages.interface.interface import Dim, Input, Interface, Output, Ranges, Shapes
from stages.loading import shards, weights
from stages.loading.pinned import SHA256, Pinned
from stages.onnx import file as onnx_file
from stages.onnx import runtime
from stages.onnx.format import ONNX
from stages.onnx.opening import dimensions, fitting, freeing
from stages.onnx.opening import implied as ranges
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import onnx


HINTS = 16  # how many sizes of weights to try for an open dimension


@dataclass(frozen=True)
class OpenOnnx(Pinned):
    """Takes a file unchanged: its opset, names, metadata and weights, also weights in files beside it.

    There is no PyTorch model to compare with, so the file itself, run by onnxruntime, is the reference.

    Args:
        weights: The file.
        sha256: The SHA-256 that it must have, 64 hex digits; None accepts any. With weights beside it, see
            shards.digest.
        inputs: By name, those that differ from the graph's; None for none. A number fixes a dimension that the graph
            leaves open; a name makes a fixed batch dynamic, if the graph then gives the same rows.
        dims: The range of each dynamic dimension, by the graph's name for it if that is meaningful, else by its place,
            such as image_dim0.
    """

    weights: Annotated[str, FilePath()]
    sha256: Annotated[Optional[str], SHA256]
    inputs: Annotated[Optional[dict[str, Input]], Shapes()]
    dims: Annotated[dict[str, Dim], Ranges()]

    produces: ClassVar[Kind | str] = ONNX
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    isolable: ClassVar[bool] = True  # the search for sizes runs the file in onnxruntime, and it may come from anyone

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
            digest = shards.digest([path, *(path.parent / n for n in names)], weights.content)
            weights.expect(path, str(self.sha256), digest)
            model = onnx_file.read(path)
            onnx.checker.check_model(str(path))
        except StageError:
            raise
        except Exception as e:  # onnx and protobuf raise anything on a damaged file
            raise StageError(
                f"{path.name} is no sound ONNX model: {first_line(e)}",
                command="compare its size and SHA-256 with the original's",
            ) from e
        their_names = dimensions.name(model)
        specs = dimensions.all_inputs(model, self.inputs)
        implied = ranges.infer(model)
        drawn = {n: r.fill for n, r in implied.items()} | _masks(specs, implied)
        freed = freeing.free(model, specs)
        fixed = dimensions.describe(model, specs)
        filled = {n: s if fills.is_said(s) else fills.default(s, drawn.get(n)) for n, s in specs.items()}
        self._check_dims(filled, their_names, _sizes(model))
        outputs = {v.name: Output([v.name], self._followed(v), dimensions.dtype(v)) for v in model.graph.output}
        interface = Interface(specs, self.dims, outputs)
        opset = onnx_file.opset(model)
        onnx_file.verify_interface(model, opset, interface)
        came = Weights(sha256=self.sha256, says=f"as they are in the ONNX file with SHA-256 {self.sha256}")
        facts = {
            **interface.facts,
            "opset": opset,
            fills.FACT: drawn,
            **Facts(source={"onnx": self.sha256, "bytes": model.ByteSize()}, weights=came),
        }
        onnx_file.stamp(model, facts)
        written = onnx_file.write(model, folder)
        says = [f"opset {opset}, {len(model.graph.node)} nodes, from a file"]
        says += [f"{n} is {theirs}" for n, theirs in their_names.items() if n in self.dims]
        says += [f"fixed {listed(fixed)}"] if fixed else []
        if freed is not None:
            says.append(freeing.prove(freed, filled, self.dims, runtime.inference(path), runtime.inference(written)))
        says += [ranges.describe(implied)] if implied else []
        facts[graphs.ITS_OWN] = graphs.read(Artifact(ONNX, folder)).narrow
        return Artifact(ONNX, folder, facts=facts, notes={"says": "; ".join(says)})

    def _check_dims(self, inputs: Mapping[str, Input], their_names: Mapping[str, str], hints: Sequence[int]) -> None:
        """Compares `dims` with the inputs. Raises ConfigError with what to type for all missing ranges at once."""
        open_ = dict.fromkeys(d for s in inputs.values() for d in s.axes.values())
        missing = [d for d in open_ if d not in self.dims]
        if not missing:
            model_interface.check_dims(inputs, self.dims)
            return
        ranged = {n: d for n, d in self.dims.items() if n in open_}
        fit = fitting.search(inputs, ranged, runtime.can_run(self._path), hints)
        lacking = listed(f"{d} ({their_names[d]})" if d in their_names else d for d in missing)
        what = f"dims has no {lacking}; the file's inputs are "
        what += listed(f"{n} {typed.shape(s.shape)}" for n, s in inputs.items())
        if fit is None:
            raise ConfigError(
                f"{what}. onnxruntime ran it at none of the sizes that were tried",
                allowed="a range for each, or a number in the input's shape",
                command=model_interface.ranges({d: Dim(1, 2, 8) for d in missing}),
            )
        raise ConfigError(
            what,
            allowed="a range for each, or a number in the input's shape; onnxruntime runs it at the sizes below",
            command=" ".join(_typed(inputs, self.inputs or {}, fit, ranged)),
        )

    def _followed(self, value: onnx.ValueInfoProto) -> list[Any]:
        sizes = [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        return [d if d in self.dims or (isinstance(d, int) and d > 0) else None for d in sizes]

    @property
    def _path(self) -> Path:
        return Path(self.weights).expanduser()


def _masks(inputs: Mapping[str, Input], implied: Mapping[str, Any]) -> dict[str, str]:
    """The fills of integer inputs whose name says mask, where the graph implies nothing else."""
    masks = {n: s for n, s in inputs.items() if "mask" in n.lower() and n not in implied}
    return {n: "mask" for n, s in masks.items() if s.shape and not s.dtype.startswith("float")}


def _sizes(model: onnx.ModelProto) -> list[int]:
    """The sizes that weights have, the most frequent first."""
    counted = collections.Counter(size for tensor in model.graph.initializer for size in tensor.dims)
    return [int(size) for size, _ in counted.most_common(HINTS)]


def _typed(
    inputs: Mapping[str, Input], stated: Mapping[str, Input], fit: fitting.FittingSizes, ranged: Mapping[str, Dim]
) -> list[str]:
    """What to type for the sizes that the search found, in addition to what is typed already."""
    changed = [n for n, s in fit.inputs.items() if s.shape != inputs[n].shape]
    words = []
    if changed:
        fill = {n: s.fill for n, s in stated.items()}
        specs = {n: replace(fit.inputs[n], fill=fill.get(n, "uniform")) for n in inputs if n in changed or n in stated}
        words.append(typed.inputs(specs))
    new = {n: d for n, d in fit.dims.items() if n not in ranged}
    return [*words, *([model_interface.ranges(new)] if new else [])]
