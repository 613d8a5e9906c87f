"""`python -m pipeline.store COMMAND`: lists, measures, verifies, removes, pins and moves stored results."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import errors, units
from pipeline.housekeeping import contents, tables
from pipeline.housekeeping import pins as pinned_results
from pipeline.housekeeping.contents import Contents
from pipeline.housekeeping.index import Index
from pipeline.housekeeping.selection import ORDERS, Selection
from pipeline.housekeeping.store_acts import export, import_, move, pin, remove, unpin, verify
from pipeline.housekeeping.store_folder import readable, refuse_another_use, refuse_what_is_none
from pipeline.printable import as_typed
from pipeline.store import places
from pipeline.terminal import command

log = logging.getLogger(__name__)

EPILOG = (
    "SIZE is for example 50GiB, AGE 30d, 12h or 2w. Without --store, the store is the one that DRYDOCK_STORE names."
)


def main(say: command.Say) -> int:
    """Runs the command that was typed and returns the exit code. Raises DrydockError."""
    args = _parser().parse_args()
    root = args.store.expanduser().absolute() if args.store else places.usual()[0]
    (refuse_another_use if args.act is import_ else refuse_what_is_none)(root)
    act: Callable[[Path, argparse.Namespace, command.Say], int] = args.act
    return act(root, args, say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.store"),
        description="Lists, measures, verifies, removes, pins, exports, imports and moves finished stages.",
        epilog=EPILOG,
    )
    some = parser.add_subparsers(metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", metavar="FOLDER", type=Path, help="the store's folder")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--json", action="store_true", help="print data, for scripts")

    def add(name: str, act: Callable[..., int], text: str, *more: argparse.ArgumentParser) -> argparse.ArgumentParser:
        one = some.add_parser(name, help=text, description=text, parents=[common, *more], epilog=EPILOG)
        one.set_defaults(act=act)
        return one

    one = add("list", _list, "every result: its size, last use, stage and model", data)
    _add_selection(one)
    one.add_argument("--by", choices=[*ORDERS], default="used", help="the order; the oldest use comes first")
    one.add_argument("--no-index", action="store_true", help="read everything anew")
    one = add("size", _size, "how much space results, entries and other files take", data)
    one.add_argument("--no-index", action="store_true", help="read everything anew")
    one = add("verify", verify, "hash every result; exit code 5 when one is damaged, which is set aside", data)
    one.add_argument("--repair", action="store_true", help="also remove entries that are unreadable or of no use")
    one = add("remove", remove, "remove results of yours that no run uses and nothing pins", data)
    one.add_argument("digests", metavar="DIGEST", nargs="*", help="results, by the first digits of their digests")
    _add_selection(one)
    one.add_argument(
        "--budget", metavar="SIZE", type=_size_of, help="the least recently used, until yours take at most SIZE"
    )
    one.add_argument(
        "--unused-by",
        metavar="FOLDER",
        type=Path,
        nargs="+",
        default=[],
        help="results that no run in these folders uses",
    )
    one.add_argument("--quarantine", action="store_true", help="damaged results that were set aside")
    one.add_argument("--dry-run", action="store_true", help="show what would be removed, and remove nothing")
    one = add("pin", pin, "protect results from removal, by run or digest; without arguments, list the pins", data)
    one.add_argument("what", metavar="RUN|DIGEST", nargs="*")
    one = add("unpin", unpin, "remove pins")
    one.add_argument("what", metavar="RUN|DIGEST", nargs="+")
    one = add("export", export, "write the results of a run into one file")
    one.add_argument("run", metavar="RUN", type=Path, help="a run's folder")
    one.add_argument("file", metavar="FILE", type=Path)
    one = add("import", import_, "add exported results to the store, as your own", data)
    one.add_argument("file", metavar="FILE", type=Path)
    one = add("move", move, "move your results to another folder or disk; go on with the same command")
    one.add_argument("folder", metavar="FOLDER", type=Path)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", metavar="NAME", help="results of one stage, such as export_by_opset, or export")
    parser.add_argument("--model", metavar="NAME", help="results of this model; * stands for any letters")
    parser.add_argument("--older", metavar="AGE", type=age_of, help="not used for at least this long")
    parser.add_argument("--larger", metavar="SIZE", type=_size_of, help="of this size or more")


def _size_of(text: str) -> int:
    if (found := units.parsed_size(text)) is None:
        raise argparse.ArgumentTypeError(f"{text} is no size; allowed: such as 512MiB or 50GiB")
    return found


def age_of(text: str) -> float:
    """The seconds that a text such as 30d names. Raises ArgumentTypeError."""
    if (found := units.parsed_age(text)) is None:
        raise argparse.ArgumentTypeError(f"{text} is no age; allowed: such as 90min, 12h, 30d or 2w")
    return found


def _known(root: Path, args: argparse.Namespace) -> Contents:
    with readable(root):
        return contents.read(root, Index(root, ignored=args.no_index))


def _list(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    known = _known(root, args)
    selection = Selection(args.stage, args.model, args.older, args.larger)
    chosen = sorted(selection.results(known), key=ORDERS[args.by])
    pinned = pinned_results.digests(root)
    if args.json:
        say(json.dumps({"store": str(root), "results": [tables.as_data(r, pinned) for r in chosen]}, indent=1))
        return errors.OK
    if chosen:
        say(tables.results(chosen, pinned))
    log.info("%s", f"{len(chosen)} results, {units.size(known.size(chosen))}, in {root}")
    return errors.OK


def _size(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    known = _known(root, args)
    with readable(root):
        others = contents.other_sizes(root, Index(root, ignored=args.no_index))
    sizes: dict[str, Any] = tables.sizes(known, others, pinned_results.digests(root))
    say(json.dumps(sizes, indent=1) if args.json else tables.sizes_text(sizes))
    return errors.OK
