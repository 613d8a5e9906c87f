"""Gives each output its own value, also where an output is an input or another output.

coremltools names variables, so a variable that is an input or two outputs would need two names. So every output is
copied before the translation, and a pass turns each copy that is needed into an operation that coremltools keeps.
"""

from __future__ import annotations

from typing import Any

from stages.capture import programs

NAME = "drydock::keep_copies"


def copy_script_outputs(graph: Any) -> None:
    """Copies each output of a TorchScript graph, in place."""
    returned = graph.return_node()
    values = list(returned.inputs())
    node = values[0].node() if values and values[0].node().kind() == "prim::TupleConstruct" else returned
    for place, value in enumerate(list(node.inputs())):
        copy = graph.create("aten::positive", [value], 1)
        copy.insertBefore(node)
        copy.output().setType(value.type())
        node.replaceInput(place, copy.output())


def copy_program_outputs(program: Any) -> None:
    """Copies each output of an ExportedProgram, in place."""
    import torch

    programs.own_outputs(program, [(torch.ops.aten.positive.default,)])


def register() -> None:
    """Registers the pass with coremltools under NAME; a second call changes nothing."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if NAME in PASS_REGISTRY:
        return

    @register_pass(namespace="drydock", name="keep_copies")
    class KeepCopies(AbstractGraphPass):  # type: ignore[misc]
        """Copies inputs, constants and repeated outputs by an operation that coremltools does not remove. All other
        outputs lose their copy."""

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                used, outputs = set(function.inputs.values()), []
                with function:
                    for output in function.outputs:
                        source = _source(output)
                        is_own = source.op is not None and source.op.op_type != "const" and source not in used
                        outputs.append(_renamed(source, output) if is_own else _copied(output, source))
                        used.add(source)
                    function.set_outputs(outputs)


def _source(output: Any) -> Any:
    """The value behind all copies of it."""
    while output.op is not None and output.op.op_type == "identity":
        output = output.op.x
    return output


def _renamed(source: Any, output: Any) -> Any:
    """The source, which takes the name of its copy; the copy gets another."""
    if source is not output:
        source.name, output.name = output.name, f"{output.name}_copy"
    return source


def _copied(output: Any, source: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil.scope import ScopeInfo

    with mb.scope(*(ScopeInfo(source=kind, data=data) for kind, data in output.op.scopes.items())):
        row = source if source.rank else mb.expand_dims(x=source, axes=[0])
        copy = mb.concat(values=[row], axis=0)
        copy = copy if source.rank else mb.squeeze(x=copy, axes=[0])
    copy.name, output.name = output.name, f"{output.name}_as_it_is"
    return copy
