"""The values of layers inside an IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.formats import graphs, inner
from stages.formats.inner import Inner
from stages.formats.session import How
from stages.openvino import library as openvino_library
from stages.openvino import runtime as openvino_runtime

if TYPE_CHECKING:
    from stages.formats.session import Arrays


def values(artifact: Artifact, names: Sequence[str], inputs: Arrays, fed: Arrays, how: How) -> Arrays:
    core = openvino_library.core_with(how.extensions)
    model = core.read_model(artifact.file)
    operations = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
    from openvino import Model, opset16

    parameters = []
    for name in fed:
        value = operations[name].output(0)
        parameters.append(opset16.parameter(value.get_partial_shape(), value.get_element_type()))
        for target in value.get_target_inputs():
            target.replace_source_output(parameters[-1].output(0))
    # Each result has its own Identity: two results of one tensor would share their names.
    results = [opset16.result(opset16.identity(operations[name].output(0))) for name in names]
    first = model.get_parameters()
    compiled = core.compile_model(
        Model(results, [*first, *parameters]), openvino_runtime.DEVICE, openvino_runtime.settings(how)
    )
    outputs = compiled([*(inputs[p.output(0).any_name] for p in first), *fed.values()])
    return {name: outputs[place].copy() for place, name in enumerate(names)}


def all_values(artifact: Artifact, inputs: Arrays, how: How) -> Inner:
    core = openvino_library.core_with(how.extensions)
    model = core.read_model(artifact.file)
    operations = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
    parameters = [p.get_friendly_name() for p in model.get_parameters()]
    names = [n for n in inner.dynamic(graphs.read(artifact, how.extensions), parameters) if n in operations]
    return inner.computed(names, lambda some: _run(core, model, {n: operations[n] for n in some}, inputs, how))


def _run(core: Any, model: Any, operations: Mapping[str, Any], inputs: Arrays, how: How) -> dict[str, list[Any]]:
    """The values of some operations, computed with only the operations that they need."""
    from openvino import Model, opset16

    # Each result has its own Identity, as in `values`.
    results = {n: [opset16.result(opset16.identity(o)) for o in op.outputs()] for n, op in operations.items()}
    parameters = model.get_parameters()
    compiled = core.compile_model(
        Model([r for ports in results.values() for r in ports], parameters),
        openvino_runtime.DEVICE,
        openvino_runtime.settings(how),
    )
    outputs = compiled([inputs[p.output(0).any_name] for p in parameters])
    arrays = iter([outputs[place].copy() for place in range(len(outputs))])
    return {n: [next(arrays) for _ in ports] for n, ports in results.items()}
