"""Captured programs: read from the store; of torch.export, their nodes, and their decompositions, computed once."""

from __future__ import annotations

import copy
import importlib
import sys
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifact import Artifact
from pipeline.notes import Notes
from stages.capture import decompositions, program_file
from stages.capture.format import EXPORTED
from stages.portable import native_output

# Of each program that is in memory: operators that were decomposed, to what came of it.
_seen: weakref.WeakKeyDictionary[Any, dict[frozenset[Any], Any]] = weakref.WeakKeyDictionary()


def load(source: Artifact) -> Any:
    """The program of a capture: of torch.export as it is in memory, or else from its file.

    A ScriptModule is never taken as it is: exporters change it, and another use of it would then differ.

    The process may not have built the model. The custom operators that the program calls are registered by the module
    of the model's factory, which is imported when they are not known, and not before: it may take seconds.

    Args:
        source: A capture, EXPORTED or TORCHSCRIPT. Its fact `source` names the factory.

    Raises what torch raises for a file that it cannot read.
    """
    if source.kind == EXPORTED and source.live is not None:
        return source.live
    with native_output.to_log():
        try:
            return _read(source)
        except RuntimeError:
            home = str(source.facts.get("source", {}).get("factory", "")).rpartition(".")[0]
            if not home or home in sys.modules:
                raise
            importlib.import_module(home)
            return _read(source)


def _read(source: Artifact) -> Any:
    if source.kind == EXPORTED:
        return program_file.read(source.file, f"a stored capture, {source.file}")
    import torch

    return torch.jit.load(str(source.file))  # type: ignore[no-untyped-call]


def nodes(graph_module: Any) -> Iterator[Any]:
    """Every node of a torch.fx.GraphModule, those in the branches of a cond or the body of a loop included."""
    for module in graph_module.modules():
        yield from module.graph.nodes if hasattr(module, "graph") else ()


def decomposed_once(program: Any, translated: Iterable[Any] = ()) -> Any:
    """A torch.export.ExportedProgram to export in place of `program`, whose decompositions are computed once.

    torch.onnx.export asks the program for them, naming the operators that it cannot translate at an opset: the same
    ones at most opsets. What each is decomposed to is torch's own, or ours, and does not change.

    Args:
        program: The program.
        translated: Overloads that somebody has a translation of, which ours must not forestall.

    Source: https://docs.pytorch.org/docs/stable/export.html#torch.export.ExportedProgram.run_decompositions
    """
    stand_in, found = copy.copy(program), _seen.setdefault(program, {})
    ours = decompositions.ours(but=translated)

    def run_decompositions(table: Mapping[Any, Any]) -> Any:
        table = {**table, **ours}
        operators = frozenset(table)
        if operators not in found:
            found[operators] = program.run_decompositions(table)
        return _copied(found[operators])

    stand_in.run_decompositions = run_decompositions
    return stand_in


def own_outputs(program: Any, copies: Sequence[tuple[Any, ...]], handing_on: Collection[Any] | None = None) -> None:
    """Copies outputs of a decomposed program, in place, for converters that cannot name one tensor twice.

    Args:
        program: A torch.export.ExportedProgram of the caller's own.
        copies: Operators that together copy a tensor, each with what it takes beside that.
        handing_on: Operators that the converter takes for the tensor that they are given: of outputs that come to one
            then, all but the first are copied. None copies every output.
    """
    import torch

    graph, specs = program.graph_module.graph, program.graph_signature.output_specs
    node = graph.output_node()
    returned: list[Any] = []
    sources: list[Any] = []
    with graph.inserting_before(node):
        for value, spec in zip(node.args[0], specs, strict=True):
            made = value
            if spec.kind is torch.export.graph_signature.OutputKind.USER_OUTPUT and isinstance(value, torch.fx.Node):
                source: Any = value
                while source.target in (handing_on or ()):
                    source = source.args[0]
                if handing_on is None or source in sources:
                    for operator, *more in copies:
                        made = graph.call_function(operator, (made, *more))
                        made.meta = dict(value.meta)
                    spec.arg = type(spec.arg)(name=made.name)
                sources.append(source)
            returned.append(made)
    node.args = (tuple(returned),)
    program.graph_module.recompile()


def _copied(program: Any) -> Any:
    """The program with graphs of its own, since the exporter goes on to change them; weights are shared."""
    graph_module = copy.deepcopy(program.graph_module)
    # A copy renames what is called as a builtin is, such as input.
    for node, original in zip(nodes(graph_module), nodes(program.graph_module), strict=True):
        node.name = original.name
    return type(program)(
        root=graph_module,
        graph=graph_module.graph,
        graph_signature=program.graph_signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=program.verifiers,
    )


def noting(made: Artifact, program: Artifact) -> Notes:
    """The notes of what was made of a program, with what is to be known of the program and what was claimed of it."""
    notes = made.notes.copy()
    if "caution" in program.notes:
        notes["caution"] = program.notes["caution"]
    if "claims" in program.notes:
        notes["claims"] = program.notes["claims"]
    return notes
