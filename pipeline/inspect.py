"""`python -m pipeline.inspect PATH [OTHER]`: the record of an artifact, or the differences between two records."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import errors, units
from pipeline.printable import as_typed, printable
from pipeline.record import difference, locate
from pipeline.record.locate import LocatedRecord
from pipeline.store.files import read_json
from pipeline.terminal import command

# What the script of a bundle writes beside the model: see stages/portable/selfcheck.py.
SELFCHECK = "selfcheck.json"


def main(say: command.Say) -> int:
    """Prints a record, or the differences between two. Raises ConfigError when there is none."""
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.inspect"),
        description="Prints the record of an artifact: its sources and checks. Of two, prints the differences.",
        epilog=f"PATH is {locate.ALLOWED}.",
    )
    parser.add_argument("path", metavar="PATH", type=Path)
    parser.add_argument("other", metavar="OTHER", type=Path, nargs="?")
    parser.add_argument("--json", action="store_true", help="print the whole record, or the differences, as JSON")
    options = parser.parse_args()
    both = [locate.find(path) for path in (options.path, options.other) if path is not None]
    with locate.whole(options.path):
        changes = [f"{one.path}: {output}" for one in both for output in one.changes()]
        if options.other is not None:
            differences = [*difference.between(both[0].record, both[1].record)]
            output = (
                [vars(d) for d in differences] if options.json else [str(d) for d in differences] or ["the same record"]
            )
        else:
            output = [{**both[0].record, "changed": changes}] if options.json else [*_lines(both[0])]
    if options.json:
        say(json.dumps(output if options.other else output[0], indent=1))
    else:
        # A record may come from anybody: none of its texts may control a terminal.
        say("\n".join(printable(line, keep="") for line in [*map(str, output), *changes]))
    return errors.CHECK_FAILED if changes else errors.OK


def _lines(one: LocatedRecord) -> Iterator[str]:
    record = one.record
    facts = record["facts"]
    precision = record["precision"]
    yield f"{record['model']} → {record['target']}  {precision['name']}, by Drydock {record['drydock']}"
    rows: list[tuple[str, str]] = [("record", str(one.path))]
    rows += [("artifact", str(one.model))] if one.model and one.model != one.path else []
    if one.model and not one.changes():
        rows.append(("whole", "its files are as they were handed over"))
    if weights := facts.get("weights"):
        rows.append(("weights", str(weights["says"])))
    if source := facts.get("source"):
        rows.append(("source", _plain(source)))
    if interface := facts.get("interface"):
        rows += [("inputs", _port(p)) for p in interface["inputs"]]
        rows += [("outputs", _port(p)) for p in interface["outputs"]]
        rows += [("dims", f"{d['name']} {d['min']} to {d['max']}") for d in interface["dims"]]
    apart = "what was not quantized is " if "quantization" in facts else ""
    rows.append(
        ("precision", f"{precision['name']}: {apart}stored {precision['storage']}, computed in {precision['compute']}")
    )
    rows += [
        (name, _brief(facts[name]))
        for name in ("opset", "capture", "route", "pruning", "quantization")
        if name in facts
    ]
    rows += [("checked", f"{check['stage']}, of {check['of']}: {_claim(check)}") for check in record["checks"]]
    rows += _elsewhere(one)
    rows.append(("libraries", ", ".join(f"{m} {v}" for m, v in record["libraries"].items())))
    rows.append(("digest", record["digest"]))
    if one.run:
        rows += list(_of_run(one.run))
    yield from (f"{name:<10} {text}" for name, text in rows)
    yield ""
    for stage in record["stages"]:
        digest = stage.get("digest", "")[:12]
        yield f"{stage['name']:<16} {digest:<12}  {stage['stage']}  {_plain(stage['settings'])}"


def _elsewhere(one: LocatedRecord) -> Iterator[tuple[str, str]]:
    """The results of a bundle's script on the machine where it ran. They are not our claims."""
    path = one.path.parent / SELFCHECK
    if not path.is_file():
        return
    selfcheck: Any = read_json(path)
    try:
        if selfcheck["digest"] != one.record["digest"]:
            yield "elsewhere", f"{SELFCHECK} is of another artifact"
            return
        for result in selfcheck["results"]:
            where = f"{result['device'] or 'its usual device'}, {selfcheck['system']}, {selfcheck['when']}"
            if result["agrees"]:
                yield "elsewhere", f"agrees on {where}: worst error {result['worst']:.1e}, {result['runtime']}"
            else:
                wrong = "; ".join(map(str, result["wrong"])) or "not compared"
                yield "elsewhere", f"DOES NOT AGREE on {where}: {wrong}"
    except (KeyError, TypeError, ValueError):
        yield "elsewhere", f"{SELFCHECK} cannot be read"


def _of_run(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What only run.json has: when, where, at which commit, and what the checks measured there."""
    yield "run", f"{run['started']} on {run['machine']['host']}, {run['machine']['cpu']}"
    if git := run.get("git"):
        changes = f", with changes {git['diff'][:12]}" if git["dirty"] else ""
        yield "git", f"{git['commit']} ({git['branch']}){changes}"
    for stage in run["stages"]:
        if {"parity", "generation", "evaluation", "perplexity", "questions"} & set(stage["notes"]):
            yield "measured", f"{stage['name']}: {stage['notes']['says']}"
    yield "files", units.size(sum(s["size"] for s in run["stages"] if s["how"] == "delivered"))


def _port(port: Mapping[str, Any]) -> str:
    return f"{port['name']} {port['dtype']} [{', '.join('?' if s is None else str(s) for s in port['shape'])}]"


def _claim(check: Mapping[str, Any]) -> str:
    if parity := check.get("parity"):
        limits = ", ".join(f"{n} {v:g}" for n, v in parity["tolerance"].items() if isinstance(v, float | int))
        text = f"agrees with {parity['against']} within {limits}, computing in {parity['compute']}, at "
        text += ", ".join(parity["shapes"])
        text += f"; with {', '.join(parity['families'])}" if parity.get("families") else ""
        return text + "".join(f"; not asked {n}: {why}" for n, why in parity.get("not_asked", {}).items())
    if tokens := check.get("tokens"):
        text = (
            f"goes on with {tokens['new']} tokens as {tokens['against']} does, after {'; '.join(tokens['batches'])}, "
        )
        text += f"wherever its first choice is ahead by {tokens['least']:g}, computing in {tokens['compute']}"
        text += f"; by our own loop: {tokens['by_ours']}" if tokens["by_ours"] else ""
        return text + "".join(f"; not asked {n}: {why}" for n, why in tokens["not_asked"].items())
    if unchecked := check.get("unchecked"):
        return f"NOT CHECKED against {unchecked['against']}: {unchecked['why']}"
    if sizes := check.get("sizes"):
        return "; ".join([*(f"NOT CHECKED: {what}" for what in sizes.get("not_checked", ())), *sizes.get("asked", ())])
    if accuracy := check.get("accuracy"):
        gate = "no gate" if accuracy["max_drop"] is None else f"drops by {accuracy['max_drop']:g} at most"
        return f"{accuracy['metric']} on {accuracy['samples']} samples, {gate}"
    if perplexity := check.get("perplexity"):
        most = perplexity["max_ratio"]
        gate = "no gate" if most is None else f"{most:g} times the PyTorch model's at most"
        return f"perplexity of {perplexity['tokens']} tokens, {perplexity['texts']}, {gate}, by our own loop"
    if built := check.get("built"):
        return "; ".join(f"{what} {_plain(counts)}" for what, counts in built.items() if counts)
    return _plain({n: v for n, v in check.items() if n not in ("stage", "of")})


def _brief(fact: Any) -> str:
    """A fact as the sentence that it carries, if it has one; --json has all of it."""
    return str(fact["says"]) if isinstance(fact, dict) and "says" in fact else _plain(fact)


def _plain(value: Any) -> str:
    """A value of a record in one line, without JSON's quotes and braces where they are not needed."""
    if isinstance(value, dict):
        return ", ".join(
            f"{n} {_plain(v)}" if not isinstance(v, dict) else f"{n} {{{_plain(v)}}}" for n, v in value.items()
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    command.run(main)
