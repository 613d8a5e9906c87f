"""A fault-injection campaign against the runner and the store. Makes docs/reliability.md.

    make chaos                                        everything; at most 30 minutes on two cores
    make chaos ARGS=--quick                           a slice, at most a minute; printed and not written
    python -m benchmarks.chaos --only struck/cold/kill-before/17      one trial, or all whose names begin so
    python -m benchmarks.chaos --seed 7               another sample

Every trial has a name, and is the same whenever it is run by that.
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.chaos import campaign, page, scenes

MINUTES = 28


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a slice, printed and not written")
    parser.add_argument("--only", default="", help="a trial's name, or how the names of some begin")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which no trial is begun")
    parser.add_argument("--keep", action="store_true", help="leave the folders of trials that find something")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        print("only Linux says which processes are left and where a descriptor leads: nothing was run")
        return 2
    began = time.monotonic()
    with scenes.kept:
        campaign.prepare()
        names = campaign.names(campaign.QUICK if arguments.quick else campaign.WHOLE, arguments.seed, arguments.only)
        verdicts = campaign.run(names, minutes=arguments.minutes, keep=arguments.keep)
    summary = page.Summary(verdicts, len(names), time.monotonic() - began, arguments.seed)
    print("\n".join(page.measured(summary)))
    if not (arguments.quick or arguments.only):
        page.PAGE.write_text(page.written(summary))
        print(page.PAGE)
    return int(any(v.wrong for v in verdicts) or not verdicts)


if __name__ == "__main__":
    sys.exit(main())
