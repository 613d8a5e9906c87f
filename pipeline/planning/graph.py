"""From a mapping of stages and their `needs` to a checked, ordered graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from pipeline.artifact import Kind
from pipeline.errors import ConfigError, Problem, listed, nearest
from pipeline.stage import Keep, Stage, name_of


@dataclass(frozen=True)
class Node:
    """A stage in its place.

    Args:
        name: Its key in the mapping `stages`.
        stage: The stage itself.
        inputs: Port name to the name of the node that feeds it.
        kinds: Port name to the kind that it receives.
        kind: The kind of its result, pass-through resolved.
    """

    name: str
    stage: Stage
    inputs: Mapping[str, str]
    kinds: Mapping[str, Kind]
    kind: Kind


def build(stages: Mapping[str, Stage], needs: Mapping[str, Sequence[str]]) -> list[Node]:
    """The nodes in the mapping's order, with a stage that another's `needs` names moved up to just before it.

    A port is fed by the first stage in the node's `needs` that makes a fitting kind; without one, by the nearest
    stage before it that does, unless it accepts that kind on request only. So a graph without `simplify` is
    still connected.

    Raises:
        ConfigError: For two stages of one name, unknown names in `needs`, a cycle, and the first stage whose inputs do
            not fit.
    """
    if not stages:
        raise ConfigError(
            "stages is empty: there is nothing to run", command="target=NAME mounts the stages of a target"
        )
    problems = _of_one_name(stages)
    problems += [p for name in stages for p in _unknown_needs(name, needs.get(name, ()), stages)]
    if problems:
        raise ConfigError(problems)
    nodes: dict[str, Node] = {}
    for name in _ordered(stages, needs):
        inputs, wrong = _connect(name, stages[name], needs.get(name, ()), nodes)
        if wrong:
            # The stages after an unconnected one would only repeat its problem.
            raise ConfigError([*wrong, *_ring(name, needs)])
        kinds = {port: nodes[source].kind for port, source in inputs.items()}
        nodes[name] = Node(name, stages[name], inputs, kinds, stages[name].makes(kinds))
    return _memory_first(nodes)


def _memory_first(nodes: Mapping[str, Node]) -> list[Node]:
    """The same nodes, those moved up that take a result in memory and wait for nothing else: it is released earlier.

    A node whose other inputs come from the rest of the graph stays where it is.
    """
    order: dict[str, Node] = {}

    def place(name: str) -> None:
        for source in nodes[name].inputs.values():
            place(source)
        order.setdefault(name, nodes[name])

    def waits(name: str) -> bool:
        return name not in order and (bool(nodes[name].inputs) or nodes[name].stage.keep is Keep.DELIVERED)

    for name in nodes:
        place(name)
        for other, node in nodes.items():
            sources = node.inputs.values()
            live = any(nodes[s].stage.keep is Keep.MEMORY for s in sources if s in order)
            if live and other not in order and not any(map(waits, sources)):
                place(other)
    return list(order.values())


def _of_one_name(stages: Mapping[str, Stage]) -> list[Problem]:
    """The problems of two classes with one name, which keys and records could not tell apart."""
    first: dict[str, str] = {}
    problems = []
    for place, stage in stages.items():
        name, path = name_of(type(stage)), f"{type(stage).__module__}.{type(stage).__qualname__}"
        if first.setdefault(name, path) != path:
            problems.append(
                Problem(
                    f"stages.{place} is {path}, and another stage named {name} is {first[name]}",
                    allowed="classes of different names",
                    command=f"rename the class {path}",
                )
            )
    return problems


def unused(nodes: Sequence[Node]) -> list[str]:
    """The stages that make something new which no other stage takes, and that do not deliver it themselves."""
    used = {source for node in nodes for source in node.inputs.values()}
    makers = [n for n in nodes if n.stage.passes_on is None and n.stage.keep is not Keep.DELIVERED]
    return [n.name for n in makers if n.name not in used]


def _ring(name: str, needs: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Explains the place of a stage that another's `needs` moved up."""
    movers = [n for n, names in needs.items() if name in names]
    return [
        Problem(
            f"stages.{name} was moved up because stages.{mover}.needs names it: if {name} lives on what comes from "
            f"{mover}, the two form a cycle",
            command=f"'stages.{mover}.needs=null' for the default",
        )
        for mover in movers
    ]


def _unknown_needs(name: str, needs: Sequence[str], stages: Mapping[str, Stage]) -> list[Problem]:
    return [
        Problem(
            f"stages.{name}.needs names '{need}', which is no stage of this graph{nearest(need, stages)}",
            allowed=listed(s for s in stages if s != name),
            command=f"'stages.{name}.needs=[…]' with one of these, or leave it out for the default",
        )
        for need in needs
        if need not in stages
    ]


def _ordered(stages: Mapping[str, Stage], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The mapping's order, with a stage that another needs moved up to just before it."""
    try:
        TopologicalSorter({name: needs.get(name, ()) for name in stages}).prepare()
    except CycleError as e:
        ring = " → ".join(reversed(e.args[1]))
        raise ConfigError(
            f"the stages form a cycle: {ring}", command="remove one of these from the other's `needs`"
        ) from None
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        for need in needs.get(name, ()):
            visit(need)
        order.setdefault(name)

    for name in stages:
        visit(name)
    return list(order)


def _connect(
    name: str, stage: Stage, needs: Sequence[str], before: dict[str, Node]
) -> tuple[dict[str, str], list[Problem]]:
    """What feeds each port of a stage, and what is wrong."""
    problems: list[Problem] = []
    inputs: dict[str, str] = {}
    unused = list(needs)
    for port, kinds in stage.ports().items():
        unasked = kinds - stage.on_request.get(port, frozenset())
        fitting = [n for n in unused if before[n].kind in kinds] + [
            n for n in reversed(before) if before[n].kind in unasked
        ]
        source = next(iter(fitting), None)
        if source is None:
            problems += [] if port in stage.optional else [_unfed(name, port, unasked, before)]
        else:
            inputs[port] = source
            unused = [n for n in unused if n != source]
    takes = listed(f"{_either(kinds)} as its '{port}'" for port, kinds in stage.ports().items()) or "nothing"
    problems += [
        Problem(
            f"stages.{name}.needs names '{n}', which makes {before[n].kind}; {name} takes {takes}",
            command=f"'stages.{name}.needs=null' for the default",
        )
        for n in unused
    ]
    return inputs, problems


def _unfed(name: str, port: str, kinds: frozenset[Kind], before: Mapping[str, Node]) -> Problem:
    makers = listed(f"{n} makes {before[n].kind}" for n in before)
    return Problem(
        f"stages.{name} takes {_either(kinds)} as its '{port}', and no stage before it makes that",
        allowed=makers or "it is the first stage, so it must take nothing",
        command=f"put a stage that makes {_either(kinds)} before it, or remove it: '~stages.{name}'",
    )


def _either(kinds: frozenset[Kind]) -> str:
    return " or ".join(sorted(kinds))
