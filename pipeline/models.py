"""`python -m pipeline.models [LIBRARY] [PATTERN]`: the models that can be converted by name, with their input sizes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from pipeline import errors
from pipeline.config.wiring import CONF
from pipeline.errors import BackendMissing, nearest
from pipeline.printable import as_typed
from pipeline.terminal import command

LIBRARIES = ("torchvision", "timm", "transformers")
CATALOG = "stages.loading.catalog"


def main(say: command.Say) -> int:
    """Lists what ships in conf/model, or the names of a library that match. Raises BackendMissing."""
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m pipeline.models"),
        description="Lists the models that can be converted by name: the options of model=, or those of a library, "
        "each with its input and what to type.",
    )
    parser.add_argument("library", nargs="?", default="", metavar="LIBRARY", help=", ".join(LIBRARIES))
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="such as 'resnet*'")
    options = parser.parse_args()
    if not options.library:
        say("\n".join(f"model={path.stem}" for path in sorted((CONF / "model").glob("*.yaml"))))
        say(f"{as_typed('python -m pipeline.models')} LIBRARY [PATTERN] lists those of {', '.join(LIBRARIES)}")
        return errors.OK
    if options.library not in LIBRARIES:
        raise errors.ConfigError(
            f"the library is {options.library}{nearest(options.library, LIBRARIES)}",
            allowed=", ".join(LIBRARIES),
            command=f"{as_typed('python -m pipeline.models')} timm 'convnext*'",
        )
    lines = _listed(options.library, options.pattern)
    if not lines:
        raise errors.ConfigError(
            f"no model of {options.library} is like {options.pattern}",
            allowed="* and ? as in names of files",
            command=f"{as_typed('python -m pipeline.models')} {options.library} '*{options.pattern.strip('*')[:3]}*'",
        )
    widths = [max(len(line[n]) for line in lines) for n in range(2)]
    say("\n".join(f"{name:<{widths[0]}}  {size:<{widths[1]}}  {typed}" for name, size, typed in lines))
    return errors.OK


def _listed(library: str, pattern: str) -> list[list[str]]:
    arguments = [sys.executable, "-m", CATALOG, library, pattern]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise BackendMissing(
            f"the models of {library} cannot be listed: {last}",
            command=f"pip install {library}" if "No module named" in last else f"python -c 'import {library}'",
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    command.run(main)
