"""The values of layers inside an IR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from stages.formats.session import How
from stages.openvino import library as openvino_library
from stages.openvino import runtime as openvino_runtime

if TYPE_CHECKING:
    from stages.formats.session import Arrays


def values(artifact: Artifact, names: Sequence[str], inputs: Arrays, fed: Arrays, how: How) -> Arrays:
    core = openvino_library.extended(how.extensions)
    model = core.read_model(artifact.file)
    named = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
    from openvino import Model, opset16

    parameters = []
    for name in fed:
        value = named[name].output(0)
        parameters.append(opset16.parameter(value.get_partial_shape(), value.get_element_type()))
        for target in value.get_target_inputs():
            target.replace_source_output(parameters[-1].output(0))
    # Each behind an operation of its own: two results of one tensor would share their names.
    results = [opset16.result(opset16.identity(named[name].output(0))) for name in names]
    first = model.get_parameters()
    compiled = core.compile_model(
        Model(results, [*first, *parameters]), openvino_runtime.DEVICE, openvino_runtime.settings(how)
    )
    told = compiled([*(inputs[p.output(0).any_name] for p in first), *fed.values()])
    return {name: told[place].copy() for place, name in enumerate(names)}
