"""A fault-injection campaign against the runner and the store. Makes docs/reliability.md.

    make chaos                                        everything; at most 30 minutes on two cores
    make chaos ARGS=--quick                           a slice, at most a minute; printed and not written
    python -m benchmarks.chaos --only struck/cold/kill-before/17      one trial, or all whose names begin so
    python -m benchmarks.chaos --seed 7               another sample

What came of each trial of a whole campaign is kept in build/chaos.jsonl, or --rows FILE, with the commit that it was
tried at: a campaign that was stopped, or ran out of time, goes on where it was.
Every trial has a name, and is the same whenever it is run by that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.chaos import campaign, page, rows, scenes

MINUTES = 28


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a slice, printed and not written")
    parser.add_argument("--only", default="", help="a trial's name, or how the names of some begin")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which no trial is begun")
    parser.add_argument("--rows", type=Path, default=rows.FILE, help="the file that keeps what came of each trial")
    parser.add_argument("--keep", action="store_true", help="leave the folders of trials that find something")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        print("only Linux says which processes are left and where a descriptor leads: nothing was run")
        return 2
    began = time.monotonic()
    with scenes.kept:
        campaign.prepare()
        names = campaign.names(campaign.QUICK if arguments.quick else campaign.WHOLE, arguments.seed, arguments.only)
        whole = not (arguments.quick or arguments.only)
        record = rows.Rows(arguments.rows if whole else None, arguments.seed)
        todo = [name for name in names if name not in record.verdicts]
        campaign.run(todo, record.add, minutes=arguments.minutes, keep=arguments.keep)
    verdicts = [record.verdicts[name] for name in names if name in record.verdicts]
    summary = page.Summary(verdicts, len(names), record.seconds + time.monotonic() - began, arguments.seed)
    print("\n".join(page.measured(summary)))
    if whole:
        record.took(time.monotonic() - began)
        page.PAGE.write_text(page.written(summary))
        print(page.PAGE)
    return int(any(v.wrong for v in verdicts) or not verdicts)


if __name__ == "__main__":
    sys.exit(main())
