"""Reads captured programs from the store; and for torch.export, their nodes and decompositions, computed once."""

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

# For each program in memory: from the operators that were decomposed to the resulting program.
_decomposed: weakref.WeakKeyDictionary[Any, dict[frozenset[Any], Any]] = weakref.WeakKeyDictionary()


def load(source: Artifact) -> Any:
    """The program of a capture: a torch.export program from memory if it is there, or else from its file.

    A ScriptModule is always read from its file: exporters change it, and another use of it would then differ.

    This process may not have built the model. The module of the model's factory registers the custom operators that the
    program calls. It is imported only when they are unknown, since that may take seconds.

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

    torch.onnx.export requests them for the operators that it cannot translate at an opset: the same ones at most
    opsets. The decompositions are torch's own or ours, and do not change.

    Args:
        program: The program.
        translated: Overloads that have a user's translation; ours must not replace them.

    Source: https://docs.pytorch.org/docs/stable/export.html#torch.export.ExportedProgram.run_decompositions
    """
    stand_in, by_operators = copy.copy(program), _decomposed.setdefault(program, {})
    ours = decompositions.ours(but=translated)

    def run_decompositions(table: Mapping[Any, Any]) -> Any:
        table = {**table, **ours}
        operators = frozenset(table)
        if operators not in by_operators:
            by_operators[operators] = program.run_decompositions(table)
        return _copied(by_operators[operators])

    stand_in.run_decompositions = run_decompositions
    return stand_in


def own_outputs(program: Any, copies: Sequence[tuple[Any, ...]], handing_on: Collection[Any] | None = None) -> None:
    """Copies outputs of a decomposed program, in place, for converters that cannot name one tensor twice.

    Args:
        program: A torch.export.ExportedProgram of the caller's own.
        copies: Operators that together copy a tensor, each with its further arguments.
        handing_on: Operators that the converter treats as their input tensor: if several outputs are then one tensor,
            all but the first are copied. None copies every output.
    """
    import torch

    graph, specs = program.graph_module.graph, program.graph_signature.output_specs
    node = graph.output_node()
    returned: list[Any] = []
    sources: list[Any] = []
    with graph.inserting_before(node):
        for value, spec in zip(node.args[0], specs, strict=True):
            output = value
            if spec.kind is torch.export.graph_signature.OutputKind.USER_OUTPUT and isinstance(value, torch.fx.Node):
                source: Any = value
                while source.target in (handing_on or ()):
                    source = source.args[0]
                if handing_on is None or source in sources:
                    for operator, *more in copies:
                        output = graph.call_function(operator, (output, *more))
                        output.meta = dict(value.meta)
                    spec.arg = type(spec.arg)(name=output.name)
                sources.append(source)
            returned.append(output)
    node.args = (tuple(returned),)
    program.graph_module.recompile()


def _copied(program: Any) -> Any:
    """The program with graphs of its own, since the exporter changes them; weights are shared."""
    graph_module = copy.deepcopy(program.graph_module)
    # A copy renames nodes with the name of a builtin, such as input.
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


def noting(artifact: Artifact, program: Artifact) -> Notes:
    """The notes of an artifact made from a program, with the program's own caution and claims."""
    notes = artifact.notes.copy()
    if "caution" in program.notes:
        notes["caution"] = program.notes["caution"]
    if "claims" in program.notes:
        notes["claims"] = program.notes["claims"]
    return notes
