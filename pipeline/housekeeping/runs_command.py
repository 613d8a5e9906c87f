"""`python -m pipeline.runs COMMAND`: past runs, listed, compared and removed, by their run.json alone."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import disk, errors, units
from pipeline.errors import ConfigError
from pipeline.housekeeping import past
from pipeline.housekeeping.past import Past
from pipeline.housekeeping.store_command import age_of
from pipeline.printable import as_typed, printable
from pipeline.record import locate
from pipeline.report.differences import between
from pipeline.runs import folders
from pipeline.terminal import command

log = logging.getLogger(__name__)

PLACES = ("runs", "sweeps")
EPILOG = "AGE is for example 30d, 12h or 2w. Without FOLDER, ./runs and ./sweeps are searched."


def main(say: command.Say) -> int:
    """Runs the command that was typed and returns the exit code. Raises DrydockError."""
    args = _parser().parse_args()
    act: Callable[[argparse.Namespace, command.Say], int] = args.act
    return act(args, say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.runs"),
        description="Lists past runs and sweeps, compares two runs, and removes old ones.",
        epilog=EPILOG,
    )
    some = parser.add_subparsers(metavar="COMMAND", required=True)
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--json", action="store_true", help="print data, for scripts")

    def add(name: str, act: Callable[..., int], text: str) -> argparse.ArgumentParser:
        one = some.add_parser(name, help=text, description=text, parents=[data], epilog=EPILOG)
        one.set_defaults(act=act)
        return one

    one = add("list", _list, "every run and sweep, the oldest first")
    one.add_argument("places", metavar="FOLDER", type=Path, nargs="*")
    one = add("compare", _compare, "how two runs differ: settings, versions, results, figures, time")
    one.add_argument("a", metavar="A", type=Path, help="a run's folder")
    one.add_argument("b", metavar="B", type=Path, help="another run's folder")
    one = add("remove", _remove, "remove the files of ended runs; a folder with other files stays")
    one.add_argument("places", metavar="FOLDER", type=Path, nargs="*", help="a run, or where to look for runs")
    one.add_argument("--older", metavar="AGE", type=age_of, help="only runs that ended at least this long ago")
    one.add_argument("--keep", metavar="N", type=_count, default=0, help="keep the latest N")
    one.add_argument("--dry-run", action="store_true", help="show what would be removed, and remove nothing")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is no number of runs; allowed: 0 or more")
    return int(text)


def _found(places: Sequence[Path]) -> list[Past]:
    """The runs in some folders, or in the default ones. Raises ConfigError for a place that is no folder."""
    for place in places:
        if not place.is_dir():
            raise ConfigError(f"{place} is no folder", allowed="a folder with runs in it, or a run's")
    try:
        return past.find(places or [Path(name) for name in PLACES if Path(name).is_dir()])
    except OSError as e:
        raise ConfigError(f"{e.filename} cannot be read: {e.strerror}", command=f"ls -ld {e.filename}") from e


def _list(args: argparse.Namespace, say: command.Say) -> int:
    runs = _found(args.places)
    if args.json:
        say(json.dumps([_as_data(one) for one in runs], indent=1))
    elif runs:
        say(_table(runs))
    log.info("%s runs and sweeps in %s", len(runs), ", ".join(map(str, args.places or PLACES)))
    return errors.OK


def _as_data(one: Past) -> dict[str, Any]:
    first: Mapping[str, Any] = one.runs[0][1] if one.runs else {}
    return {
        "folder": str(one.folder),
        "started": first.get("started"),
        "ended": first.get("ended") if one.jobs is None else None,
        "status": one.status,
        "jobs": one.jobs,
        "names": _names(one),
        "exit_code": first.get("exit_code") if one.jobs is None else None,
        "artifact": first.get("artifact") if one.jobs is None else None,
    }


def _names(one: Past) -> str:
    """The model, the target and the precision that all its runs share; * where they differ."""
    rows = [[_choice(run, group) for group in ("model", "target", "precision")] for _, run in one.runs]
    model, target, precision = (v[0] if len({*v}) == 1 else "*" for v in zip(*rows, strict=True)) if rows else "???"
    return f"{model} → {target} {precision}"


def _choice(run: Mapping[str, Any], group: str) -> str:
    named = run["config"].get(group)
    return str((named.get("name") if isinstance(named, dict) else None) or run["choices"].get(group))


def _table(runs: Sequence[Past]) -> str:
    rows = []
    for one in runs:
        started = str(one.runs[0][1]["started"])[:16].replace("T", " ") if one.runs else ""
        run = one.runs[0][1] if one.jobs is None else {}
        took = folders.seconds_of(run) if run else one.ended - one.began if one.runs else None
        code = f" {run['exit_code']}" if run.get("exit_code") else ""
        shown = "" if took is None else units.duration(took)
        rows.append((started, f"{one.status}{code}", _names(one), shown, str(one.folder)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    a, b, c, d, _ = widths
    lines = (f"{r[0]:<{a}}  {r[1]:<{b}}  {r[2]:<{c}}  {r[3]:>{d}}  {r[4]}" for r in rows)
    return "\n".join(printable(line, keep="") for line in lines)


def _compare(args: argparse.Namespace, say: command.Say) -> int:
    both = [_run(path) for path in (args.a, args.b)]
    with locate.whole(args.a):
        changes = between(*both)
        if args.json:
            differences = [vars(change) for change in changes]
            say(json.dumps({"a": str(args.a), "b": str(args.b), "changes": differences}, indent=1))
            return errors.OK
        lines = [
            f"{letter}  {path}  {run['started']}  {run['status']}"
            for letter, path, run in zip("AB", (args.a, args.b), both, strict=True)
        ]
        lines += [f"{change.what:<9} {change}" for change in changes] or ["no difference in what is recorded"]
    say("\n".join(printable(line, keep="") for line in lines))
    return errors.OK


def _run(path: Path) -> dict[str, Any]:
    folder = path.parent if path.name == folders.RUN else path
    if (run := folders.read_run(folder)) is None:
        raise ConfigError(
            f"{path} holds no {folders.RUN} of ours", allowed="a run's folder", command="python -m pipeline.runs list"
        )
    return run


def _remove(args: argparse.Namespace, say: command.Say) -> int:
    runs = _found(args.places)
    named = bool(args.places) and {p.absolute() for p in args.places} == {one.folder.absolute() for one in runs}
    if args.older is None and not args.keep and not named:
        raise ConfigError(
            "the command does not say which runs to remove",
            allowed="the folders of runs, --older AGE, --keep N",
            command="python -m pipeline.runs remove --older 30d --dry-run",
        )
    chosen = past.chosen(runs, args.older, args.keep)
    stay = {one.folder: _first(past.strangers(one)) for one in chosen}
    going = [one for one in runs if one.goes_on]
    goes = [one for one in chosen if not stay[one.folder]]
    size = sum(map(past.size, goes))
    for one in goes if not args.dry_run else ():
        with disk.explained(f"the run folder {one.folder}", "another FOLDER", one.folder):
            past.remove_past(one)
    for one in going:
        log.info("%s stays: it still runs", one.folder)
    for folder, why in stay.items():
        if why:
            log.warning("%s stays: it has %s in it, which no run wrote", folder, why)
    if args.json:
        name = "would_remove" if args.dry_run else "removed"
        say(json.dumps({name: [str(one.folder) for one in goes], "freed": size}, indent=1))
        return errors.OK
    if args.dry_run and goes:
        say(_table(goes))
    verb = "would remove" if args.dry_run else "removed"
    (log.info if args.dry_run else say)(f"{verb} {len(goes)} runs and sweeps; {units.size(size)} freed")
    return errors.OK


def _first(names: Sequence[str]) -> str:
    return names[0] if names else ""
