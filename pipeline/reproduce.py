"""`python -m pipeline.reproduce`: builds a pinned experiment, a run or a delivered artifact again, and compares.

the pinned record ──► the same graph, in an empty store ──► stage by stage: the same, or the cause of the difference
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.artifact import Artifact, Kind
from pipeline.config import compose
from pipeline.config.composed import checked_graph, store_folders
from pipeline.config.instantiate import build_stage
from pipeline.errors import ConfigError, DrydockError, Problem, listed
from pipeline.machine.installed import DISTRIBUTION, FORMERLY, distribution
from pipeline.machine.world import ThisMachine
from pipeline.planning import plan
from pipeline.planning.graph import Node
from pipeline.printable import as_typed
from pipeline.record import difference, lineage, locate
from pipeline.record.difference import Difference, What
from pipeline.record.locate import LocatedRecord
from pipeline.reproduction import lock, rebuild, trust
from pipeline.reproduction.lock import GROUP, Lock
from pipeline.reproduction.rebuild import Rebuilt
from pipeline.store import Damaged, Store
from pipeline.terminal import command


@dataclass(frozen=True)
class Pinned:
    """The thing to rebuild: an experiment, a run or an artifact.

    Args:
        says: Its name in messages.
        record: Its record.
        nodes: The graph that builds it.
        about: What the new record says beside the stages.
        lock: Its lock, where it is an experiment.
        source: The place of its record, where it is no experiment.
        changed: The files that changed since the delivery, a sentence each.
        store: The folders of the store that may still have it.
    """

    says: str
    record: Mapping[str, Any]
    nodes: Sequence[Node]
    about: Mapping[str, Any]
    lock: Lock | None
    source: LocatedRecord | None
    changed: Sequence[str]
    store: Sequence[Path]


def main(say: command.Say) -> int:
    """Builds it again and prints how it compares. Returns 0 only where every delivered byte is the same.

    Raises DrydockError.
    """
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.reproduce"),
        description="Builds a pinned experiment, a run or a delivered artifact again in an empty store, and compares. "
        "Ends with 0 when every delivered byte is the same (but a blob's, which differ each time); else with 5, and "
        "says which stage differs first, and why.",
        epilog=f"PATH is {locate.ALLOWED}.",
    )
    parser.add_argument("what", metavar=f"{GROUP}=NAME | PATH")
    parser.add_argument(
        "assignments",
        metavar="stages.NAME.SETTING=FILE",
        nargs="*",
        help="files that an artifact's record does not name",
    )
    parser.add_argument("--environment", action="store_true", help="print a constraints file for pip or uv, and stop")
    parser.add_argument("--output", type=Path, help="keep what is made in this folder")
    args = parser.parse_args()
    if args.environment:
        say("\n".join(_constraints(args.what)))
        return errors.OK
    with tempfile.TemporaryDirectory(prefix="drydock-") as scratch:
        folder = Path(scratch)
        pinned = _pinned(args.what, args.assignments)
        output = args.output.absolute() if args.output else folder / "artifact"
        if pinned.source and any(
            path.resolve().is_relative_to(output.resolve()) for path in pinned.source.files().values()
        ):
            raise ConfigError(
                f"--output={args.output} holds what is to be compared with", command="--output=/another/folder"
            )
        try:
            rebuilt = rebuild.run(pinned.nodes, pinned.about, folder / "store", output)
        except DrydockError:
            world = ThisMachine(folder / "facts", may_fetch=False)
            for foreseen in rebuild.foreseen(pinned.record, pinned.nodes, world):
                say(str(foreseen))
            raise
        code = _tell(pinned, rebuilt, folder, say)
        if args.output:
            say(f"kept in {output}")
        return code


def _pinned(what: str, assignments: Sequence[str]) -> Pinned:
    """The experiment, run or artifact, with the graph that builds it. Raises DrydockError."""
    if what.startswith(f"{GROUP}=") and not Path(what).exists():
        name = lock.experiment_of(what)
        return _experiment(what, Lock.read(name), assignments)
    at = locate.find(Path(what))
    if at.lock is not None:
        name = str(at.lock.get("experiment"))
        lock.file(name)  # raises for a name that is no experiment, such as the path of any YAML
        return _experiment(what, Lock.of_file(at, name), assignments)
    with locate.whole(at.path):
        store = store_folders({"store": None})
        own = trust.is_own(at.run, store)
        try:
            nodes = rebuild.graph_of(at, assignments, own=own)
        except ConfigError as e:
            if at.run is None or own:
                raise
            raise ConfigError([*e.problems, _whose(at, store)]) from e
        return Pinned(what, at.record, nodes, rebuild.about(at.record), None, at, at.changes(), store)


def _whose(at: LocatedRecord, store: Sequence[Path]) -> Problem:
    """Why a run's files and code are not reused."""
    return Problem(
        f"{at.path} is not known as written by a run of yours, so its files and code are not used as they were",
        allowed=f"a run.json as a run of yours wrote it, with the store in {store[0]}",
        command="DRYDOCK_STORE=FOLDER before the same command, where your run had store=FOLDER",
    )


def _experiment(what: str, locked: Lock, assignments: Sequence[str]) -> Pinned:
    if assignments:
        raise ConfigError(f"{assignments[0]}: an experiment says everything itself", allowed="changes in its YAML")
    config = compose.compose([f"{GROUP}={locked.experiment}"]).config
    nodes, about = checked_graph(config), lineage.about(config)
    return Pinned(what, locked.record, nodes, about, locked, None, [], store_folders(config))


def _tell(pinned: Pinned, rebuilt: Rebuilt, folder: Path, say: command.Say) -> int:
    """Prints how the rebuilt artifact compares with the pinned one, and returns the exit code."""
    assert rebuilt.result.record is not None
    old, new = pinned.record, rebuilt.result.record
    behind = {node.name: plan.sources_of(node).keys() for node in pinned.nodes}
    differences = [d for d in difference.between(old, new, behind) if not d.is_newer]
    again = _same(old, new)
    identical = again and not pinned.changed
    say(_table(old, new, differences))
    if identical and lineage.is_repeatable(new):
        say(f"{pinned.says}: identical, {new['digest']}")
    elif identical:
        say(f"{pinned.says}: the same but for {new['made_by']}, whose bytes differ each time it is made")
    elif again:
        say(f"{pinned.says}: built again as it was recorded; the files there have changed since")
    else:
        say(f"{pinned.says}: not what was pinned")
    for text in pinned.changed:
        say(f"  changed since: {text}")
    if first := next((d.stage for d in differences if d.what is What.BYTES), None):
        say(f"  differs first: {first}, {_why(first, new, differences)}")
    elif differences:
        say("  every result is the same, byte for byte; what the record says of them is not")
    for change in (d for d in differences if d.what not in (What.BYTES, What.CODE)):
        say(f"  {change}")
    for text in _code(differences):
        say(f"  {text}")
    if pinned.lock and pinned.lock.python != (now := lock.python()):
        say(f"  Python: {pinned.lock.python} → {now}")
    if pinned.lock:
        for text in _measured(pinned.lock.measured, lock.measured(rebuilt.result.outcomes)):
            say(f"  {text}")
    if not identical and (pinned.changed or old["content"] != new["content"]):
        say(f"  between the two: {_between(pinned, rebuilt, folder)}")
    return errors.OK if identical else errors.CHECK_FAILED


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether every delivered byte is the same, of the content and of the record that the files carry.

    Where bytes cannot be the same, such as a blob's, whether everything else is. A change of our code is reported and
    does not count: results decide. Today's check may ask more questions than the recorded one, and claim more.
    """
    ours = {"sources"} if lineage.is_repeatable(new) else {"sources", "digest", "content"}
    # A delivered folder's artifact.json says more than the record, such as the names of its files.
    return all(difference.says_no_less(old.get(n), new[n]) for n in set(new) - ours)


def _table(old: Mapping[str, Any], new: Mapping[str, Any], differences: Sequence[Difference]) -> str:
    """One line for each stage: whether its settings, code or libraries changed, and whether its result did."""
    then = {s["name"]: s.get("digest") for s in old["stages"]}
    changed = {d.stage for d in differences if d.what not in (What.BYTES, What.CLAIMS)}
    checks = {c["stage"] for c in new["checks"]}
    rows = []
    for stage in new["stages"]:
        name, before, after = stage["name"], then.get(stage["name"]), stage.get("digest")
        how = "changed" if name in changed else "unchanged"
        if before and after:
            came = "identical" if before == after else f"{before[:12]} → {after[:12]}"
        else:
            came = "agrees" if name in checks else "bytes not compared" if not stage.get("repeatable", True) else ""
        rows.append(f"{name:<16} {how:<16} {came}".rstrip())
    return "\n".join(rows)


def _why(stage: str, record: Mapping[str, Any], differences: Sequence[Difference]) -> str:
    """Why the first differing stage differs: the changes of it, and of the stages that it depends on.

    An earlier stage whose result has the same digest cannot be the cause, nor can any stage before that one.
    """
    stages = {s["name"]: s for s in record["stages"]}
    suspects, waiting = set[str](), [stage]
    while waiting:
        name = waiting.pop()
        if name in stages and (name == stage or "digest" not in stages[name]):
            suspects.add(name)
            waiting += stages[name]["needs"].values()
    causes = [(d.stage, str(d.what)) for d in differences if d.what not in (What.BYTES, What.CLAIMS)]
    reasons = dict.fromkeys(f"the {what} of {name or 'the run'}" for name, what in causes if name in {*suspects, ""})
    if reasons:
        return f"by {listed(reasons)}"
    return "in its bytes alone: settings, library versions and code are the same"


def _code(differences: Sequence[Difference]) -> Iterator[str]:
    """Each source file whose code has changed, with the stages that it is part of."""
    behind: dict[str, list[str]] = {}
    for one in differences:
        if one.what is What.CODE:
            behind.setdefault(one.says, []).append(one.stage)
    return (f"code: {file}, which is behind {listed(stages)}" for file, stages in behind.items())


def _measured(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The figures that differ; they depend on this machine, so they do not decide."""
    for stage in then:
        if stage in now and then[stage] != now[stage]:
            yield f"{stage}: measured {_figures(then[stage])}; here {_figures(now[stage])}"


def _figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{place} {value:g}" for place, value in figures.items())


def _between(pinned: Pinned, rebuilt: Rebuilt, folder: Path) -> str:
    """How far the outputs of the pinned artifact and of the new one differ, if the pinned one is still there."""
    record = rebuilt.result.record or {}
    old = _old(pinned, folder / "old")
    references = [
        o.digest for o, n in zip(rebuilt.result.outcomes, pinned.nodes, strict=True) if n.kind == Kind.REFERENCE
    ]
    checks = [n.stage for n in pinned.nodes for c in record["checks"] if n.name == c["stage"] and "parity" in c]
    if old is None:
        return f"parity not measured: {pinned.store[0]} does not have the pinned artifact any more"
    if not references or not references[0] or not checks:
        return "parity not measured: this graph records no reference, or checks nothing against it"
    how = {name: getattr(checks[-1], name) for name in ("compute", "extensions")}
    stage = build_stage("compare", compose.stage_settings("compare") | how)
    inputs = {
        "artifact": rebuilt.store.open(record["digest"]),
        "other": old,
        "reference": rebuilt.store.open(references[0]),
    }
    try:
        return str(stage.run(inputs, folder).notes["says"])
    except Exception as e:  # a runtime raises anything
        return f"parity not measured: {type(e).__name__}: {(str(e).strip().splitlines() or [''])[0]}"


def _old(pinned: Pinned, folder: Path) -> Artifact | None:
    """The pinned artifact: the delivered one, else the store's."""
    record = pinned.record
    if pinned.source and pinned.source.model:
        folder.mkdir()
        for name, path in pinned.source.files().items():
            if path.is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to(path.resolve())
        return Artifact(Kind(record["kind"]), folder, facts=record["facts"])
    if not pinned.store[0].is_dir():
        return None
    try:
        return Store(*pinned.store).open(record["digest"])
    except (Damaged, ConfigError):
        return None


def _constraints(what: str) -> Iterator[str]:
    """A file for pip's --constraint: a version for each distribution that is known to have been installed."""
    at = locate.find(lock.file(lock.experiment_of(what)) if what.startswith(f"{GROUP}=") else Path(what))
    if at.run is None:
        yield f"# The libraries that {what} was built with; only a run's run.json knows all that was installed."
        yield from _lines((distribution(m), v) for m, v in at.record["libraries"].items())
        return
    yield f"# What was installed for the run of {at.run['started']}, under Python {at.run['versions']['python']}."
    with locate.whole(at.path):
        yield from _lines((n, v) for n, v in at.run["environment"].items() if n not in (DISTRIBUTION, FORMERLY))


def _lines(versions: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each. Refuses a text that is no name or no version: pip would read it as an option."""
    return (f"{n}=={v}" for n, v in versions if re.fullmatch(r"[\w.-]+", n) and re.fullmatch(r"[\w.+!-]+", str(v)))


if __name__ == "__main__":
    command.run(main)
