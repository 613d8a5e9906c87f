"""The commands of `python -m pipeline.store` that change a store or verify it."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import disk, errors, units
from pipeline.errors import ConfigError
from pipeline.housekeeping import bundle, contents, eviction, moving, pins, tables
from pipeline.housekeeping import verify as verification
from pipeline.housekeeping.contents import Contents, Listed, Result
from pipeline.housekeeping.index import Index
from pipeline.housekeeping.selection import Selection, digest_of
from pipeline.housekeeping.store_folder import readable, refuse_another_use
from pipeline.runs import folders
from pipeline.store import Store
from pipeline.store.files import remove_tree
from pipeline.store.owners import user_name
from pipeline.terminal import command

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0
WAIT_SECONDS = 0.1


def verify(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    """Hashes everything. Returns exit code 5 where a result is damaged, else 0. Raises DrydockError."""
    store = Store(root)
    found = verification.verify(store, _known(root), repair=args.repair, progress=_progress("hashed"))
    if args.json:
        say(json.dumps(vars(found), indent=1))
    else:
        say("\n".join(_verified(found)))
    if found.useless and not args.repair:
        log.info("`python -m pipeline.store verify --repair` removes entries that are of no use any more")
    return errors.CHECK_FAILED if found.damaged or found.unreadable else errors.OK


def _verified(found: verification.Verified) -> Iterator[str]:
    yield f"{found.results} results hashed, {units.size(found.size)}; {found.entries} entries read"
    yield from (f"damaged: {name}: {became}" for name, became in found.damaged)
    yield from (f"no entry: {name}" for name in found.unreadable)
    yield from (f"of no use, since its result is gone: {name}" for name in found.useless)
    yield from (f"repaired: {what}" for what in found.repaired)
    if found.evicted:
        yield f"{found.evicted} entries lead to results that were removed; what was built from those is still a hit"
    if not found.damaged and not found.unreadable:
        yield "every result is as it was published"


def remove(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    """Removes the selected results, or shows what would be removed. Raises DrydockError."""
    selection = Selection(args.stage, args.model, args.older, args.larger, args.digests, args.unused_by)
    if selection.means_all and args.budget is None and not args.quarantine:
        raise ConfigError(
            "the command does not say what to remove",
            allowed="DIGEST, --older, --larger, --stage, --model, --unused-by, --budget, --quarantine",
            command="python -m pipeline.store remove --older 30d --dry-run",
        )
    if args.dry_run:
        return _would_remove(root, selection, args, say)
    store = Store(root)
    eviction.refuse_without_locks(store)
    with _alone(store):
        known = _known(root)
        chosen, entries, others = _meant(root, known, selection, args)
        done = eviction.remove(store, known, chosen, entries=entries, budget=args.budget)
        evidence = _quarantined(root, args)
        for path, _ in evidence:
            remove_tree(path)
    freed = done.freed + sum(size for path, size in evidence if not path.exists())
    _tell_others(others)
    if done.in_use:
        log.info("%s results stay: a run uses them", len(done.in_use))
    if done.gone:
        log.info("%s results were removed by somebody else first", len(done.gone))
    for result, why in done.denied:
        log.warning("%s stays: %s", result.digest[:12], why)
    if args.json:
        document = {"removed": [r.digest for r in done.results], "in_use": [r.digest for r in done.in_use]}
        denied = [r.digest for r, _ in done.denied]
        say(json.dumps({**document, "denied": denied, "freed": freed, "entries": done.entries}, indent=1))
    else:
        gone = f"{len(done.results)} results and {done.entries} entries"
        say(
            f"removed {gone}"
            + (f", {len(evidence)} from quarantine" if evidence else "")
            + f"; {units.size(freed)} freed"
        )
    return errors.USAGE if done.denied else errors.OK


def _meant(
    root: Path, known: Contents, selection: Selection, args: argparse.Namespace
) -> tuple[list[Result], list[Listed], dict[str, int]]:
    """The results to remove, their entries, and how many results stay, by the reason."""
    named = not selection.means_all
    if not named and args.budget is None:
        return [], [], {}
    pinned = pins.digests(root)
    meant = selection.results(known)
    chosen = eviction.removable(meant, pinned)
    stay = Counter(user_name(r.owner) for r in meant if r.owner != os.geteuid())
    others = {f"of {name}, who alone may remove them": count for name, count in stay.items()}
    if kept := sum(r.digest in pinned and r.owner == os.geteuid() for r in meant):
        others["pinned"] = kept
    return chosen, selection.entries(known, chosen) if named and args.budget is None else [], others


def _would_remove(root: Path, selection: Selection, args: argparse.Namespace, say: command.Say) -> int:
    known = _known(root)
    chosen, entries, others = _meant(root, known, selection, args)
    if args.budget is not None:
        chosen = eviction.over(known, args.budget, chosen)
    evidence = _quarantined(root, args)
    freed = eviction.freed(known, chosen) + sum(size for _, size in evidence)
    if args.json:
        say(json.dumps({"would_remove": [r.digest for r in chosen], "freed": freed, "entries": len(entries)}, indent=1))
    elif chosen:
        say(tables.results(chosen, ()))
    _tell_others(others)
    log.info("would remove %s results, %s entries; %s freed", len(chosen), len(entries), units.size(freed))
    return errors.OK


def _quarantined(root: Path, args: argparse.Namespace) -> list[tuple[Path, int]]:
    """This user's damaged results that were set aside and will be removed, with their bytes."""
    found = []
    for path in (root / "quarantine").glob("*") if args.quarantine else ():
        with contextlib.suppress(OSError):
            at = path.lstat()
            old = args.older is None or time.time() - at.st_ctime >= args.older
            if at.st_uid == os.geteuid() and old and not path.is_symlink():
                found.append((path, sum(file.st_size for _, file in contents.below(path))))
    return found


def _tell_others(others: dict[str, int]) -> None:
    for why, count in others.items():
        log.info("%s results stay: %s", count, why)


def pin(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    """Pins runs and results, or lists what is pinned. Raises DrydockError."""
    known = _known(root)
    if args.what:
        store = Store(root)
        with _alone(store), store.keeping(), store.explained():
            for what in args.what:
                name, digests = _pinnable(what, known)
                gone = [d for d in digests if d not in {r.digest for r in known.results}]
                pins.add(root, name, digests)
                if gone:
                    log.warning("%s: %s of its %s results are no longer in the store", what, len(gone), len(digests))
    found = pins.read(root)
    if args.json:
        say(json.dumps([{"of": p.of, "digests": list(p.digests), "since": p.since} for p in found], indent=1))
    else:
        say(tables.pins(found, known))
    return errors.OK


def unpin(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    """Removes pins. Raises DrydockError."""
    store, known = Store(root), _known(root)
    with _alone(store), store.explained():
        for what in args.what:
            name = what if any(p.of == what for p in pins.read(root)) else _pinnable(what, known)[0]
            if not pins.remove(root, name):
                raise ConfigError(f"{what} is not pinned", command="python -m pipeline.store pin")
    say(tables.pins(pins.read(root), known))
    return errors.OK


def _pinnable(what: str, known: Contents) -> tuple[str, list[str]]:
    """The name of a pin, and the results that it keeps."""
    path = Path(what).expanduser()
    if path.exists():
        folder, run = _run(path)
        return str(folder.absolute()), sorted(folders.digests(run))
    digest = digest_of(what, known)
    return digest, [digest]


def _run(path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a run and its run.json. Raises ConfigError."""
    folder = path.expanduser()
    folder = folder.parent if folder.name == folders.RUN and folder.is_file() else folder
    if (run := folders.read_run(folder)) is None:
        raise ConfigError(
            f"{path} holds no {folders.RUN} of ours", allowed="a run's folder", command="python -m pipeline.runs list"
        )
    return folder, run


def export(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    """Writes a run's results into a file, and prints its path. Raises DrydockError."""
    folder, run = _run(args.run)
    if os.path.lexists(args.file):
        raise ConfigError(f"{args.file} is there already", allowed="a file that does not exist")
    with disk.explained(f"{args.file}", "another FILE", args.file.absolute().parent):
        count, size = bundle.write(Store(root), folder, run, args.file)
    log.info("%s results, %s; the run.json in it names folders and hosts of this machine", count, units.size(size))
    say(str(args.file))
    return errors.OK


def import_(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    """Adds exported results to the store, or to a new store where there is none. Raises DrydockError."""
    store = Store(root)
    done = bundle.read(store, args.file)
    if args.json:
        document = {"results": done.results, "present": done.present, "entries": done.entries}
        say(json.dumps(document, indent=1))
    else:
        say(f"{len(done.results)} results are new, {done.present} were there; {done.entries} entries")
    log.info("its entries count as your own from now on: docs/trust.md")
    return errors.OK


def move(root: Path, args: argparse.Namespace, say: command.Say) -> int:
    """Moves this user's results, and prints the new place. Raises DrydockError."""
    target = args.folder.expanduser().absolute()
    there = target.resolve()
    if there == root.resolve() or there.is_relative_to(root.resolve()) or root.resolve().is_relative_to(there):
        raise ConfigError(f"{args.folder} is in the store {root}, or the store in it", allowed="a folder beside it")
    refuse_another_use(target)
    store, to = Store(root), Store(target)
    eviction.refuse_without_locks(store)
    with _alone(store), _alone(to):
        done = moving.move(store, _known(root), to, _progress("moved"))
    for why, count in Counter(why for _, why in done.left).items():
        log.warning("%s results stay in %s: %s", count, root, why)
    if done.left:
        log.info("run the same command again later to move those that are free by then")
    log.info("%s results are there now, %s", done.results, units.size(done.size))
    log.info("from now on: export DRYDOCK_STORE=%s", shlex.quote(str(target)))
    say(str(target))
    return errors.OK


def _known(root: Path) -> Contents:
    with readable(root):
        return contents.read(root, Index(root))


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Waits until no other process removes, moves or pins, and keeps others from it meanwhile."""
    guard = eviction.lock(store)
    if not guard.try_acquire():
        log.info("another process removes, moves or pins in %s; waiting", store.root)
        while not guard.try_acquire():
            time.sleep(WAIT_SECONDS)
    try:
        yield
    finally:
        guard.release()


def _progress(done: str) -> Callable[[int, int], None]:
    """Says now and then how much was done."""
    last = time.monotonic()

    def tell(count: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            log.info("%s %s of %s", units.size(count), done, units.size(total))

    return tell
