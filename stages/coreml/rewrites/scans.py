"""Linear recurrences of an open length, which coremltools has no loop for, as a logarithmic number of steps.

Source: Hillis and Steele, Data parallel algorithms, 1986, https://doi.org/10.1145/7902.7903
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any


def rewrite(program: Any) -> Any:
    """Replaces each torch scan of `state = decay * state + fed`, in place, and returns the program.

    After the step of 2ⁿ, each place has what the 2ⁿ⁺¹ places up to it do to a state: a factor and a term.

    Args:
        program: An ExportedProgram in the dialect ATEN; other scans stay as they are.
    """
    graph = program.graph_module.graph
    for node in [n for n in graph.nodes if _is_scan(n)]:
        states, tokens = node.args[1], node.args[2]
        if len(states) != 1 or not _is_linear(getattr(program.graph_module, node.args[0].target), states, tokens):
            continue
        longest = _longest(tokens[0].meta["val"].shape[0], program.range_constraints)
        if longest is None:
            continue
        with graph.inserting_before(node):
            every = _scanned(graph, states[0], tokens[0], tokens[1], longest)
            last = _called(graph, "select.int", every, 0, -1)
        for user in list(node.users):
            user.replace_all_uses_with((last, every)[user.args[1]])
            graph.erase_node(user)
        combine = node.args[0]
        graph.erase_node(node)
        if not combine.users:
            graph.erase_node(combine)
    program.graph_module.recompile()
    return program


def _is_scan(node: Any) -> bool:
    return node.op == "call_function" and str(node.target) == "scan" and _is_unpacked(node)


def _is_unpacked(node: Any) -> bool:
    return all(user.target is operator.getitem for user in node.users)


def _is_linear(combine: Any, states: Any, tokens: Any) -> bool:
    """Whether the function of a scan computes decay * state + fed, asked at random numbers."""
    import torch

    if len(tokens) != len(("decay", "fed")):
        return False
    shapes = [[*states[0].meta["val"].shape], *([*token.meta["val"].shape[1:]] for token in tokens)]
    known = [[n if isinstance(n, int) else 2 for n in shape] for shape in shapes]
    generator = torch.Generator().manual_seed(0)
    state, decay, fed = (torch.rand(shape, generator=generator) for shape in known)
    try:
        answers = combine(state, decay, fed)
    except Exception:  # a function of other arguments
        return False
    return len(answers) == len(("state", "output")) and all(torch.allclose(a, decay * state + fed) for a in answers)


def _longest(length: Any, ranges: Mapping[Any, Any]) -> int | None:
    """The largest value of a length; None where it has none."""
    from torch.utils._sympy.value_ranges import bound_sympy

    if isinstance(length, int):
        return length
    upper = bound_sympy(length.node.expr, dict(ranges)).upper
    return int(upper) if upper.is_finite and upper.is_integer else None


def _scanned(graph: Any, state: Any, decay: Any, fed: Any, longest: int) -> Any:
    rank = decay.meta["val"].dim()
    for shift in _shifts(longest):
        # The first places have nothing so far before them, which keeps a state.
        before = [0] * (2 * rank - 2) + [shift, 0]
        earlier = [
            _called(graph, "slice.Tensor", _called(graph, "constant_pad_nd.default", x, before, nothing), 0, 0, -shift)
            for x, nothing in ((decay, 1.0), (fed, 0.0))
        ]
        fed = _called(graph, "add.Tensor", _called(graph, "mul.Tensor", decay, earlier[1]), fed)
        decay = _called(graph, "mul.Tensor", decay, earlier[0])
    return _called(graph, "add.Tensor", _called(graph, "mul.Tensor", decay, state), fed)


def _shifts(longest: int) -> Iterator[int]:
    return (2**n for n in range(math.ceil(math.log2(longest)) if longest > 1 else 0))


def _called(graph: Any, name: str, *args: Any) -> Any:
    import torch

    packet, overload = name.split(".")
    return graph.call_function(getattr(getattr(torch.ops.aten, packet), overload), args)
