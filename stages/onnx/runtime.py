"""Runs ONNX graphs with onnxruntime on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, StageError, listed
from stages.formats import session
from stages.formats.session import How
from stages.interface import fills
from stages.interface.interface import Input
from stages.onnx import bfloat16
from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("onnx", "onnxruntime", "numpy")
# Optimizers to switch off, by the type that a graph computes in: 1.31.1 dies of a segmentation fault on float16 ViTs.
DISABLED: Mapping[str, list[str]] = {"float16": ["NchwcTransformer"]}


class OnnxSession:
    """An onnxruntime session. It computes in the graph's own types, whatever type was requested.

    bfloat16 is emulated by rounding; see stages/onnx/bfloat16.py.
    """

    def __init__(self, artifact: Artifact, threads: int | None) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        if threads is None:
            # Each shape runs once: packing the weights would cost a second copy of them and save no time.
            options.add_session_config_entry("session.disable_prepacking", "1")
        else:
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.computes_in = _type_of_weights(artifact)
        rounds = self.computes_in == "bfloat16"
        if rounds and threads is not None:
            raise StageError(
                "onnxruntime's CPU has no kernels for bfloat16: what would be timed is not what a device does",
                command="without also=benchmark, or precision=fp16",
            )
        try:
            with tempfile.TemporaryDirectory() as folder:
                emulated = bfloat16.emulate(onnx_file.read(artifact.file)) if rounds else None
                path = artifact.file if emulated is None else onnx_file.write(emulated, Path(folder))
                self._session = onnxruntime.InferenceSession(
                    path,
                    options,
                    providers=["CPUExecutionProvider"],
                    disabled_optimizers=DISABLED.get(self.computes_in),
                )
        except Exception as e:
            if custom := onnx_file.custom_operators(artifact.file):
                raise CheckFailed(
                    f"onnxruntime cannot run {listed(f'{name} ({n}×)' for name, n in custom.items())}: "
                    "an operator outside ONNX that it has no kernel for",
                    allowed="operators of ONNX, and functions made of them",
                    command="a translation into those; or '~stages.check_export' and the like, if your runtime has it",
                ) from e
            raise
        self._outputs = [o.name for o in self._session.get_outputs()]
        # onnxruntime lets us read back only what was set.
        self.properties = {} if threads is None else {"intra_op_num_threads": str(options.intra_op_num_threads)}
        self.properties |= {"bfloat16": bfloat16.SAYS} if rounds else {}

    def __call__(self, inputs: Arrays) -> Arrays:
        returned: list[Any] = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, returned, strict=True))

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        feeds = dict(inputs)
        return lambda: self._session.run(self._outputs, feeds)


def open_session(artifact: Artifact, how: How) -> OnnxSession:
    """Loads a graph. Raises what onnxruntime raises, and StageError for any property: it reads none back."""
    return OnnxSession(artifact, session.without_settings(how, "onnxruntime").threads)


def inference(path: Path) -> Callable[[Arrays], dict[str, Any]]:
    """A function that runs any ONNX file. Raises what onnxruntime raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its exceptions have the same text
    loaded = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in loaded.get_outputs()]
    return lambda arrays: dict(zip(names, loaded.run(names, dict(arrays)), strict=True))


def can_run(path: Path) -> Callable[[Mapping[str, Input], Mapping[str, int]], bool]:
    """A function that says whether any ONNX file runs with inputs of some sizes.

    It tries drawn values, and both ends of the ranges of integers. A file that onnxruntime does not load never runs.
    """
    try:
        ask = inference(path)
    except Exception:  # onnxruntime raises its own, for a type or an operator that it lacks
        return lambda inputs, sizes: False

    def runs(inputs: Mapping[str, Input], sizes: Mapping[str, int]) -> bool:
        whole = {
            n: s.fill["integers"] for n, s in inputs.items() if isinstance(s.fill, Mapping) and "integers" in s.fill
        }
        try:
            for end in (0, 1) if whole else (None,):
                drawn = fills.draw(inputs, sizes, seed=0)
                for name, ends in whole.items() if end is not None else ():
                    drawn[name][...] = ends[0] if end == 0 else ends[1] - 1
                ask(drawn)
        except Exception:
            return False
        return True

    return runs


def _type_of_weights(artifact: Artifact) -> str:
    """The 16-bit type of the graph's weights, otherwise float32: the CPU provider computes in that type."""
    import onnx

    dtypes = {i.data_type for i in onnx.load(artifact.file, load_external_data=False).graph.initializer}
    reduced = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
    return next((name for kind, name in reduced.items() if kind in dtypes), "float32")
