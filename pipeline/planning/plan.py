"""What a run would do: each stage's key, whether the store has its result, and why not."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline import formats
from pipeline.artifact import Kind
from pipeline.code import closure
from pipeline.code.names import PACKAGE, is_ours
from pipeline.errors import BackendMissing, ConfigError, Problem, listed
from pipeline.machine import gpu
from pipeline.machine.installed import how_to_install
from pipeline.machine.world import code_identity, is_installed, library_version
from pipeline.machine.world import lacking as absent
from pipeline.planning.graph import Node
from pipeline.stage import CONTRACT, Keep, Stage, World, name_of
from pipeline.store import Entry, State, Store
from pipeline.store import key as keys


class Todo(StrEnum):
    """What is to be done about a stage."""

    HIT = "hit"  # the store has its result
    BUILD = "miss"  # it must run
    IDLE = "idle"  # its result lives in memory, or was evicted, and nothing after it must run: a hit too, to a reader
    DELIVER = "deliver"  # it hands the result to the user


@dataclass(frozen=True)
class Step:
    """One stage of a plan.

    Args:
        node: The stage in its place.
        todo: What is to be done about it.
        why: For a stage to build: what separates its key from the nearest one that was built, or what it waits for.
        key_document: What its key is the digest of; None while the content of an input is unknown.
        key: Its key; None while the content of an input is unknown.
        digest: What identifies its content: of the stored result, or the key itself for one in memory.
        entry: The action entry of a result that the store has or had.
    """

    node: Node
    todo: Todo
    why: str = ""
    key_document: Mapping[str, Any] | None = None
    key: str | None = None
    digest: str | None = None
    entry: Entry | None = None

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def stage(self) -> Stage:
        return self.node.stage

    @property
    def in_memory(self) -> bool:
        """Whether its result is never looked for in the store: by the stage's nature, or because it was not stored."""
        return self.stage.keep is Keep.MEMORY or (self.entry is not None and self.entry.in_memory)


def check(nodes: Sequence[Node]) -> None:
    """Checks everything that needs no work.

    Raises:
        ConfigError: With every wrong setting, and with every missing library too when there is one.
        BackendMissing: With everything that this machine lacks, when the settings are right.
    """
    wrong = list(_each_once(nodes))
    lacking = [p for module, names in needed(nodes).items() for p in _missing(module, names, nodes)]
    lacking += without_gpu(nodes)
    lacking += [p.at(f"stages.{n.name}: ") for n in nodes for p in n.stage.lacking(n.kinds)]
    if wrong:
        raise ConfigError([*wrong, *lacking])
    if lacking:
        raise BackendMissing(lacking)


def _each_once(nodes: Sequence[Node]) -> Iterator[Problem]:
    """The problems of the stages' settings; one that several stages share is reported once, with all their names."""
    stages: dict[Problem, list[str]] = {}
    for node in nodes:
        for problem in node.stage.problems():
            stages.setdefault(problem, []).append(node.name)
    for problem, (first, *others) in stages.items():
        besides = f", and so it is in stages.{', stages.'.join(others)}" if others else ""
        yield replace(problem, what=f"stages.{first}.{problem.what}{besides}")


def without_gpu(nodes: Sequence[Node]) -> list[Problem]:
    """The problems of stages that need an NVIDIA GPU where there is none to use; else empty."""
    names = [n.name for n in nodes if n.stage.needs_gpu]
    if not names:
        return []
    try:
        gpu.describe()
    except BackendMissing as e:
        place = f"stages.{', stages.'.join(names)}: "
        return [replace(p.at(place), command=_or_else(p.command, nodes, names)) for p in e.problems]
    return []


def _or_else(way: str, nodes: Sequence[Node], names: Collection[str]) -> str:
    """What to type, with the alternatives that stages offer."""
    others = {n.stage.otherwise: None for n in nodes if n.name in names and n.stage.otherwise}
    return "; or ".join([way, *others])


def _missing(module: str, names: Sequence[str], nodes: Sequence[Node]) -> Iterator[Problem]:
    """The problem of a library that is not installed, or lacks native parts that it loads only later."""
    users = ", stages.".join(names)
    if not is_installed(module):
        yield Problem(
            f"stages.{users}: '{module}' is not installed", command=_or_else(how_to_install(module), nodes, names)
        )
    elif parts := absent(module, formats.native(module)):
        yield Problem(
            f"stages.{users}: '{module}' {library_version(module)} is installed without its native {listed(parts)}",
            allowed="a wheel for this system and this Python, which has them",
            command=f"pip install --force-reinstall --no-deps '{module}=={library_version(module)}'",
        )


def needed(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """The modules that stages run on, each with the names of those stages."""
    users: dict[str, list[str]] = {}
    for node, module in ((n, m) for n in nodes for m in n.stage.modules(n.kinds)):
        users.setdefault(module, []).append(node.name)
    return users


def settle(nodes: Sequence[Node], world: World) -> list[Node]:
    """The nodes with what their settings name looked up. Raises ConfigError with every problem."""
    settled, problems = [], []
    for node in nodes:
        try:
            settled.append(replace(node, stage=node.stage.settle(world)))
        except ConfigError as e:
            problems += [p.at(f"stages.{node.name}: ") for p in e.problems]
    if problems:
        raise ConfigError(problems)
    return settled


def make(nodes: Sequence[Node], store: Store, world: World, *, damaged: set[str], explain: bool) -> list[Step]:
    """Plans: looks up keys and entries in order, then goes back from the end to find what must be built.

    Args:
        nodes: The graph, settled.
        store: Where results are looked up.
        world: Answers for what lies outside the settings.
        damaged: Digests of results that were found damaged and not yet built again; kept up to date here, since a
            damaged result is set aside when it is found and looks merely absent from then on.
        explain: Whether to look for why a key missed, which reads other entries, and to say whose results were passed
            over.
    """
    steps: dict[str, Step] = {}
    for node in nodes:
        step = steps[node.name] = _look_up(node, steps, store, world, explain)
        if step.in_memory:
            steps[node.name] = replace(step, todo=Todo.IDLE)
        elif step.entry is not None:
            steps[node.name] = _as_it_stands(step, step.entry.digest, store, damaged)
    needed: set[str] = set()
    for node in reversed(nodes):
        step = steps[node.name]
        if step.todo is Todo.IDLE and node.name in needed:
            elsewhere = not step.in_memory and store.is_elsewhere(step.digest or "")
            again = _remote(step) if elsewhere else replace(step, todo=Todo.BUILD)
            step = steps[node.name] = again
        if step.todo in (Todo.BUILD, Todo.DELIVER):
            needed |= set(node.inputs.values())
    if explain:
        store.tell_passed_over()
    return list(steps.values())


def _as_it_stands(step: Step, digest: str, store: Store, damaged: set[str]) -> Step:
    """The step of a result that was built before: an evicted one is rebuilt when needed, a damaged one at once."""
    state = store.state(digest)
    if state in (State.PRESENT, State.REMOTE):
        damaged.discard(digest)
        return step if state is State.PRESENT else _remote(step)
    if state is State.DAMAGED:
        damaged.add(digest)
    if digest in damaged:
        return replace(step, todo=Todo.BUILD, why="damaged in the store")
    return replace(step, todo=Todo.IDLE, why="no longer in the store")


def _remote(step: Step) -> Step:
    """The step of a result whose files are elsewhere, and come here when something needs them."""
    says = step.node.stage.describe()
    return replace(step, todo=Todo.HIT, why=f"remote; {says}" if says else "remote")


def _look_up(node: Node, before: Mapping[str, Step], store: Store, world: World, explain: bool) -> Step:
    todo = {Keep.MEMORY: Todo.IDLE, Keep.DELIVERED: Todo.DELIVER, Keep.STORED: Todo.BUILD}[node.stage.keep]
    unknown = [source for source in node.inputs.values() if before[source].digest is None]
    if unknown:
        return Step(node, todo, why=f"waits for {unknown[0]}")
    inputs = {port: before[source].digest or "" for port, source in node.inputs.items()}
    document = document_of(node, inputs, world)
    try:
        step = Step(node, todo, key_document=document, key=keys.digest(document))
    except TypeError as e:
        raise ConfigError(
            f"stages.{node.name}: {e}", allowed="numbers, text in quotes where it is a key, lists and mappings"
        ) from e
    assert step.key is not None
    if node.stage.keep is not Keep.STORED:
        return replace(step, digest=step.key, why=node.stage.describe())
    entry = store.find(document["stage"], step.key)
    if entry is None:
        # A pass-through stage has the digest of its input even before it has run.
        passed = before[node.inputs[port]].digest if (port := node.stage.passes_on) else None
        return replace(step, digest=passed, why=store.why_missed(document, sources_of(node)) if explain else "")
    return replace(step, todo=Todo.HIT, digest=entry.digest, entry=entry, why=node.stage.describe())


def document_of(node: Node, inputs: Mapping[str, str], world: World) -> dict[str, Any]:
    """The document whose digest is the key of a stage.

    Args:
        node: The stage in its place, settled.
        inputs: Port name to content digest.
        world: Answers for what lies outside the settings.
    """
    return keys.document(
        stage=name_of(type(node.stage)),
        contract=CONTRACT,
        code=_code_of(node),
        settings=node.stage.identity(world),
        inputs=inputs,
        libraries={m: library_version(m) for m in node.stage.modules(node.kinds)},
    )


def sources_of(node: Node) -> Mapping[str, str]:
    """The files of ours behind a stage, each with the digest of what it does; none where the stage is not ours."""
    stage = type(node.stage)
    return closure.files(stage.__module__, _kinds(node)) if is_ours(stage.__module__) else {}


def _code_of(node: Node) -> Mapping[str, str]:
    """What identifies the code behind a stage; for one that is not ours, with the code of ours that it uses."""
    stage = type(node.stage)
    if is_ours(stage.__module__):
        return {PACKAGE: closure.digest(stage.__module__, _kinds(node))}
    file = getattr(sys.modules.get(stage.__module__), "__file__", None)
    ours = closure.digest_of_file(Path(file)) if file else ""
    own = code_identity(f"{stage.__module__}.{stage.__qualname__}")
    return {**own, PACKAGE: ours} if ours else own


def _kinds(node: Node) -> tuple[str, ...]:
    """The kinds whose formats a stage may ask for.

    The module counts only where a stage takes it on request, to run it; elsewhere it is just the source of others.
    """
    on_request = node.stage.on_request
    received = (kind for port, kind in node.kinds.items() if kind != Kind.MODULE or kind in on_request.get(port, ()))
    return (*received, *(() if node.kind == Kind.MODULE else (node.kind,)))
