"""Frozen graphs and SavedModels, executed by TensorFlow on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import StageError, listed
from stages.frameworks import formats as file_formats
from stages.interface.interface import Interface

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("tensorflow", "numpy")
SIGNATURE = "serving_default"  # the one that OpenVINO reads, too


class TensorflowSession:
    """A function of TensorFlow's that takes and returns tensors by the file's own names."""

    computes_in = "float32"

    def __init__(self, artifact: Artifact) -> None:
        path = file_formats.file_of(artifact)
        self._function = _signature(path) if path.is_dir() else _pruned(path, artifact)

    def __call__(self, inputs: Arrays) -> Arrays:
        return {name: value.numpy() for name, value in self._function(dict(inputs)).items()}


def open_session(artifact: Artifact, compute: str) -> TensorflowSession:
    """Loads a file. Raises what TensorFlow raises."""
    return TensorflowSession(artifact)


def _signature(folder: Path) -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    if SIGNATURE not in loaded.signatures:
        raise StageError(f"the SavedModel has no signature '{SIGNATURE}'; it has {listed(loaded.signatures) or 'none'}")
    function = loaded.signatures[SIGNATURE]

    def ask(arrays: Arrays) -> Any:
        # `loaded` owns the variables, and must live as long as the function.
        assert loaded is not None
        return function(**{name: tf.constant(value) for name, value in arrays.items()})

    return ask


def _pruned(path: Path, artifact: Artifact) -> Any:
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    theirs, interface = file_formats.their_names(artifact), Interface.read(artifact)
    names = [theirs[n] for n in interface.inputs]
    function = whole.prune([_tensor(n) for n in names], {theirs[n]: _tensor(theirs[n]) for n in interface.outputs})
    return lambda arrays: function(*(tf.constant(arrays[name]) for name in names))


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"
