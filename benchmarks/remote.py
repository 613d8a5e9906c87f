"""A remote hit beside building: ResNet-50 to OpenVINO, on a machine that has nothing and on one that finds all of it.

make bench-remote       three rounds, about four minutes
python -m benchmarks.remote --rounds 5

The bucket is on loopback, so this shows what the remote itself costs, and not the network: `--delay 0.03` has the
server wait so many seconds before each answer, as one does that is far away.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

from localbucket import S3Handler

from benchmarks import verdict
from benchmarks.process import Measured, measure, median

ROOT = Path(__file__).resolve().parent.parent
# What we hold ourselves to, on the medians: of building, what a machine pays that finds all of it in the remote, and
# what one pays that puts all of it there; of a local hit, what a run pays for a remote that it need not ask.
HIT, WRITE, WARM = 0.5, 1.25, 1.5


@contextmanager
def server(folder: Path, delay: float) -> Iterator[None]:
    """An S3 server, to which the environment leads."""

    class Handler(S3Handler):
        data_root = folder

        def log_message(self, *args: object) -> None:
            pass

        def _dispatch(self, action: object) -> None:
            time.sleep(delay)
            super()._dispatch(action)

    (folder / "bucket").mkdir(parents=True)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{http.server_port}"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    yield
    http.shutdown()


def one_round(folder: Path, delay: float) -> dict[str, Measured]:
    """Each once, in turn, so that a machine that slows down slows all of them."""
    ours = [sys.executable, "-m", "pipeline", "model=resnet50", "target=openvino", "model.weights=random"]
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    measure([sys.executable, "-m", "pipeline.trust"], folder)

    def run(store: str, *words: str) -> Measured:
        return measure([*ours, f"store={folder / store}", *words], folder)

    remote = "remote=s3://bucket/prefix"
    with server(folder / "buckets", delay):
        return {
            "build": run("alone"),
            "build and put": run("one", remote),
            "remote hit": run("two", remote),
            "local hit": run("alone"),
            "local hit, remote": run("one", remote),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer of the server")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    runs: dict[str, list[Measured]] = {}
    for number in range(arguments.rounds + 1):  # the first warms the machine's file cache and is not counted
        with tempfile.TemporaryDirectory() as folder:
            for name, one in one_round(Path(folder), arguments.delay).items():
                print(f"round {number}  {name:<17} {one.seconds:6.2f} s", flush=True)
                runs.setdefault(name, []).extend([one] if number else [])
    seconds = {name: median(rounds).seconds for name, rounds in runs.items()}
    print(f"\nmedians of {arguments.rounds} rounds")
    print(verdict.line("remote hit / build, wall", seconds["remote hit"] / seconds["build"], HIT))
    print(verdict.line("build and put / build, wall", seconds["build and put"] / seconds["build"], WRITE))
    print(
        verdict.line(
            "local hit with a remote / without, wall", seconds["local hit, remote"] / seconds["local hit"], WARM
        )
    )
    print(verdict.line("remote hit / local hit, wall", seconds["remote hit"] / seconds["local hit"]))


if __name__ == "__main__":
    main()
