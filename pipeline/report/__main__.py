"""`python -m pipeline.report DIR [DIR]`: a sweep's report anew, the page of a single run, or of two runs compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline import disk, errors, report
from pipeline.errors import ConfigError
from pipeline.printable import as_typed, printable
from pipeline.report import places, tables
from pipeline.report.select import FORM, Rule
from pipeline.runs.folders import RUN
from pipeline.terminal import command


def main(say: command.Say) -> int:
    """Prints the table and where the page is. Raises ConfigError when there is nothing to report."""
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.report"),
        description="Makes sweep.json and report.html anew from what the jobs left, and prints the table. "
        f"Of two runs' folders, it makes {report.COMPARED}, which compares them.",
        epilog=f"DIR is {report.ALLOWED}. RULE is {FORM}.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("other", metavar="DIR", type=Path, nargs="?", help="another run, to compare with")
    parser.add_argument("--to", metavar="FILE", type=Path, help=f"where the comparison is written: {report.COMPARED}")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write every job and measure there")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write a table for a pull request there")
    parser.add_argument(
        "--select", metavar="RULE", help="mark the best job; exit code 5 when none meets the conditions"
    )
    parser.add_argument("--paths", action="store_true", help="name hosts and absolute paths in what is written")
    args = parser.parse_args()
    rule = Rule.read(args.select) if args.select is not None else None
    with disk.explained("the report", "--csv and --markdown name other files", args.folder):
        return _report(args, rule, say)


def _report(args: argparse.Namespace, rule: Rule | None, say: command.Say) -> int:
    folder: Path = args.folder
    if args.other is not None:
        if rule or args.csv or args.markdown:
            raise ConfigError("two runs have no table", allowed="two folders, --to and --paths")
        to = args.to or Path(report.COMPARED)
        report.of_two((folder, args.other), to, with_paths=args.paths)
        say(str(to))
        return errors.OK
    if args.to is not None:
        raise ConfigError("--to is for a comparison", allowed="the folders of two runs", command="without --to")
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder", allowed=report.ALLOWED)
    if (folder / RUN).is_file():
        if rule or args.csv or args.markdown:
            raise ConfigError(f"{folder} is a single run's, which has no table", allowed="the folder of a sweep")
        if (path := report.of_run(folder, with_paths=args.paths)) is None:
            raise ConfigError(f"{folder / RUN} is no run.json of ours", allowed=report.ALLOWED)
        say(str(path))
        return errors.OK
    sweep = report.of_sweep(folder, rule, with_paths=args.paths)
    written = sweep if args.paths else places.without(sweep)
    for path, text in ((args.csv, tables.as_csv), (args.markdown, tables.markdown)):
        if path is not None:
            path.write_text(text(written), encoding="utf-8")
    say(f"{printable(tables.terminal(sweep, columns=command.columns()))}\n{folder / report.PAGE}")
    return errors.CHECK_FAILED if sweep.best and sweep.best.number is None else errors.OK


if __name__ == "__main__":
    command.run(main)
