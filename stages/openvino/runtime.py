"""OpenVINO IR, executed by OpenVINO's CPU plugin."""

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
from stages.portable.said import first_line

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("openvino", "numpy")
DEVICE = "CPU"
HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
PRECISION, MODE, THREADS = "INFERENCE_PRECISION_HINT", "EXECUTION_MODE_HINT", "INFERENCE_NUM_THREADS"
# What settings of ours decide, and the values that pin a run to one stream of that many threads.
OURS = {PRECISION: "compute", THREADS: "threads"}
ONE_STREAM = {"NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}


class OpenvinoSession:
    """A compiled model with the precision of its computation pinned.

    On CPUs with AVX512_BF16 or AMX the plugin computes in bfloat16 unless it is told otherwise at compile time.
    """

    def __init__(self, artifact: Artifact, asked: Mapping[str, str], extensions: Sequence[str]) -> None:
        core = openvino_library.extended(extensions)
        if artifact.kind == OPENVINO_BLOB:
            self._model = blob.loaded(core, artifact, asked)
        else:
            self._model = compiled(core, artifact.file, DEVICE, asked)
        # The plugin joins what is returned as it is, and its names: of these the model's is meant.
        outputs = Interface.read(artifact).outputs if FACT in artifact.facts else {}
        self._names = [next((n for n in p.get_names() if n in outputs), p.any_name) for p in self._model.outputs]
        self.properties = read_back(self._model, asked)
        self.computes_in = computes_in(self.properties)

    def __call__(self, inputs: Arrays) -> Arrays:
        returned = self._model(dict(inputs))
        return {name: returned[port] for name, port in zip(self._names, self._model.outputs, strict=True)}

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        openvino = openvino_library.quiet()
        request = self._model.create_infer_request()
        for name, value in inputs.items():
            tensor = openvino.Tensor(value.dtype, value.shape)  # its own memory, aligned as it likes
            tensor.data[...] = value
            request.set_tensor(name, tensor)
        return lambda: request.infer(share_outputs=True)


def compiled(core: Any, path: Path, device: str, asked: Mapping[str, str]) -> Any:
    """core.compile_model, with what OpenVINO says in words. Raises StageError."""
    try:
        return core.compile_model(path, device, dict(asked))
    except Exception as e:  # OpenVINO raises anything
        raise StageError(
            f"OpenVINO cannot load the model for {device}: {first_line(e)}",
            allowed="operations that it has or target.extensions brings, and settings with values that it knows",
        ) from e


def open_session(artifact: Artifact, how: How) -> OpenvinoSession:
    """Compiles a model for this CPU. Raises what OpenVINO raises, StageError and CheckFailed for properties."""
    return OpenvinoSession(artifact, settings(how), how.extensions)


def settings(how: How, device: str = DEVICE) -> dict[str, str]:
    """What the plugin is asked for, by its own names. Raises StageError for a property that it does not have."""
    pinned = {} if how.threads is None else {THREADS: str(how.threads), **ONE_STREAM}
    if how.properties:
        told = openvino_library.quiet().Core().get_property(device, "SUPPORTED_PROPERTIES")
        known = {name: OURS.get(name, "") for name, access in told.items() if access == "RW"}
        session.refuse_unknown(how.properties, known, f"OpenVINO's {device} plugin")
    return {PRECISION: HINTS[how.compute], **pinned, **how.properties}


def read_back(model: Any, asked: Mapping[str, str]) -> dict[str, str]:
    """What a compiled model says of itself: precision, execution mode, and whatever was asked for.

    Raises:
        CheckFailed: When a property reads back otherwise than it was asked for. The precision is left to whoever
            asked for it, who can say it in the words of `compute`.
    """
    told = {name: _text(model.get_property(name)) for name in (PRECISION, MODE, *asked)}
    for name, value in asked.items():
        if name != PRECISION and told[name].casefold() != _spelled(value).casefold():
            raise CheckFailed(
                f"{name} was asked for as {value}, OpenVINO set it to {told[name]}",
                command=f"{told[name]}, or another machine",
            )
    return told


def computes_in(properties: Mapping[str, str]) -> str:
    """The precision that was read back, by the name that `compute` has for it."""
    hint = properties[PRECISION]
    return {v: k for k, v in HINTS.items()}.get(hint, hint)


def _text(value: Any) -> str:
    """A property's value as it would be asked for: f32, ACCURACY, YES, 2."""
    if hasattr(value, "to_string"):  # an element type
        return str(value.to_string())
    if hasattr(value, "name"):  # an enumeration's member
        return str(value.name)
    return _spelled(str(value))


def _spelled(value: str) -> str:
    return {"true": "YES", "false": "NO"}.get(value.casefold(), value)
