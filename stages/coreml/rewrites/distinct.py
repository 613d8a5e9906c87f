"""Outputs that are inputs, or one another: each becomes a value of its own, which is all that Core ML can name.

coremltools names variables, and one that is an input or two outputs would have two names. So every output is copied
while a program is translated, and a pass makes of each copy an operation that stays where it is needed.
"""

from __future__ import annotations

from typing import Any

from stages.capture import programs

NAME = "drydock::keep_copies"


def script(graph: Any) -> None:
    """Copies each output of a TorchScript graph, in place."""
    returned = graph.return_node()
    values = list(returned.inputs())
    node = values[0].node() if values and values[0].node().kind() == "prim::TupleConstruct" else returned
    for place, value in enumerate(list(node.inputs())):
        copy = graph.create("aten::positive", [value], 1)
        copy.insertBefore(node)
        copy.output().setType(value.type())
        node.replaceInput(place, copy.output())


def exported(program: Any) -> None:
    """Copies each output of an ExportedProgram, in place."""
    import torch

    programs.own_outputs(program, [(torch.ops.aten.positive.default,)])


def register() -> None:
    """Makes the pass known to coremltools by NAME; once more changes nothing."""
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if NAME in PASS_REGISTRY:
        return

    @register_pass(namespace="drydock", name="keep_copies")
    class KeepCopies(AbstractGraphPass):  # type: ignore[misc]
        """Of an input, a constant, and what is an output already: a copy by an operation that coremltools does not
        leave out. All others are the outputs themselves."""

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                taken, outputs = set(function.inputs.values()), []
                with function:
                    for output in function.outputs:
                        source = _source(output)
                        is_own = source.op is not None and source.op.op_type != "const" and source not in taken
                        outputs.append(_renamed(source, output) if is_own else _kept(output, source))
                        taken.add(source)
                    function.set_outputs(outputs)


def _source(output: Any) -> Any:
    """What is copied, and copied again: a model may well hand on what nothing is done to."""
    while output.op is not None and output.op.op_type == "identity":
        output = output.op.x
    return output


def _renamed(source: Any, output: Any) -> Any:
    """What is copied, under the name of its copy."""
    if source is not output:
        source.name, output.name = output.name, f"{output.name}_copy"
    return source


def _kept(output: Any, source: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil.scope import ScopeInfo

    with mb.scope(*(ScopeInfo(source=kind, data=data) for kind, data in output.op.scopes.items())):
        row = source if source.rank else mb.expand_dims(x=source, axes=[0])
        copy = mb.concat(values=[row], axis=0)
        copy = copy if source.rank else mb.squeeze(x=copy, axes=[0])
    copy.name, output.name = output.name, f"{output.name}_as_it_is"
    return copy
