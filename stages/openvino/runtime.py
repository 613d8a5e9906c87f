"""Runs OpenVINO IR with OpenVINO's CPU plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, StageError
from stages.formats import session
from stages.formats.session import How
from stages.interface.interface import FACT, Interface
from stages.openvino import blob
from stages.openvino import library as openvino_library
from stages.openvino.format import OPENVINO_BLOB
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("openvino", "numpy")
DEVICE = "CPU"
HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
PRECISION, MODE, THREADS = "INFERENCE_PRECISION_HINT", "EXECUTION_MODE_HINT", "INFERENCE_NUM_THREADS"
# Properties that our own settings decide, and the values that pin a run to one stream.
OURS = {PRECISION: "compute", THREADS: "threads"}
ONE_STREAM = {"NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}


class OpenvinoSession:
    """A compiled model with the precision of its computation pinned.

    On CPUs with AVX512_BF16 or AMX the plugin computes in bfloat16 unless another precision is set at compile time.
    """

    def __init__(self, artifact: Artifact, properties: Mapping[str, str], extensions: Sequence[str]) -> None:
        core = openvino_library.core_with(extensions)
        if artifact.kind == OPENVINO_BLOB:
            self._model = blob.import_blob(core, artifact, properties)
        else:
            self._model = compile_model(core, artifact.file, DEVICE, properties)
        # The plugin merges an output with the value it equals, and their names: pick the model's name.
        outputs = Interface.read(artifact).outputs if FACT in artifact.facts else {}
        self._names = [next((n for n in p.get_names() if n in outputs), p.any_name) for p in self._model.outputs]
        self.properties = read_back(self._model, properties)
        self.computes_in = computes_in(self.properties)

    def __call__(self, inputs: Arrays) -> Arrays:
        returned = self._model(dict(inputs))
        return {name: returned[port] for name, port in zip(self._names, self._model.outputs, strict=True)}

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        openvino = openvino_library.load()
        request = self._model.create_infer_request()
        for name, value in inputs.items():
            tensor = openvino.Tensor(value.dtype, value.shape)  # its own memory, with the alignment it prefers
            tensor.data[...] = value
            request.set_tensor(name, tensor)
        return lambda: request.infer(share_outputs=True)


def compile_model(core: Any, path: Path, device: str, properties: Mapping[str, str]) -> Any:
    """core.compile_model. Raises StageError with OpenVINO's message."""
    try:
        return core.compile_model(path, device, dict(properties))
    except Exception as e:  # OpenVINO raises anything
        raise StageError(
            f"OpenVINO cannot load the model for {device}: {first_line(e)}",
            allowed="operations that it has or target.extensions brings, and settings with values that it knows",
        ) from e


def open_session(artifact: Artifact, how: How) -> OpenvinoSession:
    """Compiles a model for this CPU. Raises what OpenVINO raises, StageError and CheckFailed for properties."""
    return OpenvinoSession(artifact, settings(how), how.extensions)


def settings(how: How, device: str = DEVICE) -> dict[str, str]:
    """The properties to compile with, by the plugin's names. Raises StageError for one that it does not have."""
    pinned = {} if how.threads is None else {THREADS: str(how.threads), **ONE_STREAM}
    if how.properties:
        supported = openvino_library.load().Core().get_property(device, "SUPPORTED_PROPERTIES")
        settable = {name: OURS.get(name, "") for name, access in supported.items() if access == "RW"}
        session.refuse_unknown(how.properties, settable, f"OpenVINO's {device} plugin")
    return {PRECISION: HINTS[how.compute], **pinned, **how.properties}


def read_back(model: Any, properties: Mapping[str, str]) -> dict[str, str]:
    """The properties that a compiled model reports: precision, execution mode, and all that were set.

    Raises:
        CheckFailed: When a property reads back with another value than was set. The precision is not compared here: the
            caller can report it in terms of `compute`.
    """
    actual = {name: _text(model.get_property(name)) for name in (PRECISION, MODE, *properties)}
    for name, value in properties.items():
        if name != PRECISION and actual[name].casefold() != _spelled(value).casefold():
            raise CheckFailed(
                f"{name} was asked for as {value}, OpenVINO set it to {actual[name]}",
                command=f"{actual[name]}, or another machine",
            )
    return actual


def computes_in(properties: Mapping[str, str]) -> str:
    """The precision that was read back, by its name in `compute`."""
    hint = properties[PRECISION]
    return {v: k for k, v in HINTS.items()}.get(hint, hint)


def _text(value: Any) -> str:
    """A property's value in the form that sets it: f32, ACCURACY, YES, 2."""
    if hasattr(value, "to_string"):  # an element type
        return str(value.to_string())
    if hasattr(value, "name"):  # an enumeration's member
        return str(value.name)
    return _spelled(str(value))


def _spelled(value: str) -> str:
    return {"true": "YES", "false": "NO"}.get(value.casefold(), value)
