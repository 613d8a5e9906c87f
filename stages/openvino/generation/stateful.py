"""Moves a decoder's cache into the graph, as states, and runs the result through the interface of the original graph.

    past_key_values.0.key ──► Gather(beam_idx) ──► … ──► present.0.key      becomes
            ReadValue ──► Gather(beam_idx) ──► … ──► Assign

A row of a batch continues with the state of row beam_idx. A state that was never written is empty, or zeros if it has
no growing axis, with as many rows as the tokens have: each batch may have any size.

Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-request/stateful-models.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, StageError, listed
from stages.formats.session import How
from stages.interface.generation import Cache, Generation
from stages.interface.interface import Interface
from stages.openvino import library as openvino_library
from stages.openvino import runtime

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("openvino", "numpy")
BEAMS = "beam_idx"
FACT = "stateful"  # the type that an IR requests for its cache
CACHE_SETTING = "KV_CACHE_PRECISION"
CACHE_TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "u8"}


def convert(model: Any, generation: Generation) -> None:
    """Turns a cache into states, in place.

    Args:
        model: An openvino.Model with the cache's inputs and outputs by name.
        generation: The pairs of inputs and outputs.

    Raises:
        StageError: Where the model has no such input or output.
        CheckFailed: Where one is still an input or an output, or a state has a fixed size.
    """
    openvino = openvino_library.load()
    from openvino import opset16 as ops
    from openvino.passes import MakeStateful, Manager

    ports = {name for port in (*model.inputs, *model.outputs) for name in port.get_names()}
    if lacking := [n for c in generation.cache for n in (c.input, c.output) if n not in ports]:
        raise StageError(f"the IR has no {listed(lacking)}, which should be part of its cache", allowed=listed(ports))
    tokens = _tokens(model, generation)
    sizes = {port.any_name: openvino.PartialShape([-1] * len(port.partial_shape)) for port in tokens}
    model.reshape(sizes | {c.input: _open(model.input(c.input).partial_shape, c) for c in generation.cache})
    beams = ops.parameter([-1], openvino.Type.i32, name=BEAMS)
    beams.output(0).get_tensor().set_names({BEAMS})
    pairs, empty = {}, {}
    axis = ops.constant(0, openvino.Type.i64)
    rows = ops.gather(ops.shape_of(tokens[0], output_type="i64"), ops.constant([0], openvino.Type.i64), axis)
    for cache in generation.cache:
        parameter = model.input(cache.input).get_node()
        readers = parameter.output(0).get_target_inputs()
        chosen = ops.gather(parameter, beams, axis)
        for reader in readers:
            reader.replace_source_output(chosen.output(0))
        pairs[cache.input] = cache.output
        others = [0 if d.is_dynamic else d.get_length() for d in parameter.output(0).get_partial_shape()][1:]
        shape = ops.concat([rows, ops.constant(others, openvino.Type.i64)], 0)
        kind = parameter.output(0).get_element_type()
        empty[_state(cache)] = ops.broadcast(ops.constant(0, kind), shape).output(0)
    model.add_parameters([beams])
    manager = Manager()
    manager.register_pass(MakeStateful(pairs))
    manager.run_passes(model)
    for op in model.get_ordered_ops():
        if op.get_type_name() == "ReadValue":
            op.set_arguments([empty[op.get_variable_id()]])
    model.validate_nodes_and_infer_types()
    _verify(model, generation)


def _state(cache: Cache) -> str:
    """MakeStateful's name for the state of a pair."""
    return cache.input + cache.output


def _tokens(model: Any, generation: Generation) -> list[Any]:
    """The inputs that are not part of the cache."""
    carried = {c.input for c in generation.cache}
    return [port for port in model.inputs if not carried & set(port.get_names())]


def _open(shape: Any, cache: Cache) -> Any:
    """The shape of a part of a cache for a batch of any size, after any number of tokens."""
    openvino = openvino_library.load()
    return openvino.PartialShape([openvino.Dimension(-1) if n in (0, cache.axis) else d for n, d in enumerate(shape)])


def _verify(model: Any, generation: Generation) -> None:
    names = {name for port in (*model.inputs, *model.outputs) for name in port.get_names()}
    remaining = [n for c in generation.cache for n in (c.input, c.output) if n in names]
    states = {v.get_info().variable_id: v.get_info().data_shape for v in model.get_variables()}
    caches = {_state(c): c for c in generation.cache}
    if remaining or states.keys() != caches.keys():
        raise CheckFailed(
            f"of {len(caches)} parts of the cache, OpenVINO made {len(states)} states; "
            f"{listed(remaining) or 'none'} are inputs and outputs still"
        )
    for name, cache in caches.items():
        if frozen := [n for n in (0, cache.axis) if n is not None and states[name][n].is_static]:
            raise CheckFailed(f"the state of '{cache.input}' has the shape {states[name]}: axis {frozen[0]} is fixed")


class StatefulSession:
    """Runs a stateful graph through its original interface: inputs are written into states, states read as outputs."""

    def __init__(self, artifact: Artifact, how: How) -> None:
        self._caches = Generation.read(artifact).cache
        self._outputs = list(Interface.read(artifact).outputs)
        settings = {**cache_settings(artifact.facts[FACT]["cache"]), **runtime.settings(how)}
        core = openvino_library.core_with(how.extensions)
        self._model = runtime.compile_model(core, artifact.file, runtime.DEVICE, settings)
        self._request = self._model.create_infer_request()
        self.properties = runtime.read_back(self._model, settings)
        self.computes_in = runtime.computes_in(self.properties)

    def __call__(self, inputs: Arrays) -> Arrays:
        return self.prepare(inputs)()

    def prepare(self, inputs: Arrays) -> Callable[[], dict[str, Any]]:
        import numpy as np

        openvino = openvino_library.load()
        carried = {_state(c): c for c in self._caches}
        own = {name: value for name, value in inputs.items() if name not in {c.input for c in self._caches}}
        own[BEAMS] = np.arange(len(next(iter(own.values()))), dtype=np.int32)

        def infer() -> dict[str, Any]:
            self._request.reset_state()
            for state in self._request.query_state():
                before = inputs[carried[state.name].input]
                if before.size:
                    state.state = openvino.Tensor(np.ascontiguousarray(before))
            returned = self._request.infer(own)
            results = {name: np.array(returned[name]) for name in self._outputs if name in _names(self._model.outputs)}
            for state in self._request.query_state():
                results[carried[state.name].output] = np.array(state.state.data)
            return {name: results[name] for name in self._outputs}

        return infer


def _names(ports: Sequence[Any]) -> set[str]:
    return {name for port in ports for name in port.get_names()}


def open_session(artifact: Artifact, how: How) -> StatefulSession:
    """Compiles a stateful decoder for this CPU. Raises what stages.openvino.runtime.open_session raises."""
    return StatefulSession(artifact, how)


def cache_settings(cache: str | None) -> Mapping[str, str]:
    """OpenVINO's property for the type of a cache; none for its own choice."""
    return {} if cache is None else {CACHE_SETTING: CACHE_TYPES[cache]}
