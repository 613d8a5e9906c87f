"""What --help, --version and the console script by itself say; made without Hydra, which would compose all it lists."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from pipeline import errors
from pipeline.machine.installed import own_version
from pipeline.printable import as_typed
from pipeline.terminal.command import Say

WIDTH = 80
# The choices that matter first, and what each is.
FIRST = {
    "model": "what to convert; docs/models.md has the keys of a model of your own",
    "target": "the format to reach, and how it is checked",
    "precision": "the numbers that the artifact stores and computes with",
    "also": "what else is wanted: [benchmark,evaluate] for several",
}
KEYS = {
    "opset=18": "of the ONNX graph, 7 to 26",
    "effort=standard": "of the checks: quick, standard or thorough",
    "plan=true": "what would be built and why, and nothing is built",
    "output=FOLDER": "where the artifact is handed over",
}
OTHERS = {
    "route": "by way of ONNX, or directly",
    "capture": "how PyTorch's program is taken: torch.export, a trace, a script",
    "experiment": "a recipe of such choices that is kept in git",
    "sweep": "a committed sweep, which needs no -m",
}
PLACED = {
    "+stage@stages.again=check": "one more stage, of those in conf/stage",
    "+tolerance@stages.again.tolerance=fp32": "what that check allows, likewise",
}
EXAMPLES = """
python -m pipeline model=resnet50 target=openvino    # convert, check, print the path
python -m pipeline model=timm model.name=convnext_atto target=onnx opset=20
python -m pipeline model=custom model.factory=my_pkg.net.Net model.weights=net.pth
python -m pipeline also=benchmark                    # measured beside PyTorch too
python -m pipeline -m model=resnet50,vit_b_16 opset=18,20    # every combination
python -m pipeline '~stages.simplify'                # without a stage
python -m pipeline --cfg job                         # every setting in force
"""
COMMANDS = {
    "python -m pipeline.doctor KEY=VALUE …": "can it run here; what to install",
    "python -m pipeline.inspect FILE [OTHER]": "what it was made of",
    "python -m pipeline.report FOLDER": "the page of a sweep or run, anew",
    "python -m pipeline.pin experiment=NAME": "what it comes to, for git",
    "python -m pipeline.reproduce WHAT": "make it again, and compare",
}
CODES = (
    "Exit codes: 0 ok, 1 a bug of ours, 2 usage, 3 a stage failed, 4 a library is missing, 5 the check failed, "
    "6 a sweep had failures, 130 interrupted. Hydra's own flags: --hydra-help."
)
PURPOSE = "Drydock takes a PyTorch model to the format a device runs, and checks it."


def asked(typed: Sequence[str]) -> str | None:
    """The answer to --help or --version; None where neither was typed."""
    if "--version" in typed:
        return f"drydock {own_version()}"
    if {"--help", "-h"} & {*typed}:
        from pipeline.config.compose import folders  # here, since that registers what a composition needs

        return whole(folders())
    return None


def brief(say: Say) -> int:
    """What the console script says that nothing was typed after."""
    shown = EXAMPLES.strip().splitlines()[:3]
    lines = [PURPOSE, "", *(f"  {line}" for line in shown), "", "python -m pipeline --help has the rest."]
    say(as_typed("\n".join(lines)))
    return errors.OK


def whole(folders: Sequence[Path]) -> str:
    """All of it.

    Args:
        folders: Where configurations are looked for.
    """
    first = [line for group, text in FIRST.items() for line in _group(group, text, folders)]
    others = [line for group, text in OTHERS.items() for line in _group(group, text, folders)]
    parts = [
        PURPOSE,
        "\n".join(f"  {line}" for line in EXAMPLES.strip().splitlines()),
        "Choose first, as KEY=VALUE:",
        "\n".join(first + _table(KEYS)),
        "Then, where it matters:",
        "\n".join(others + _table(PLACED)),
        _wrapped(
            "What an option is stands at the top of its file, such as conf/target/openvino.yaml. YAMLs of your own in "
            "./conf, and in the folders that DRYDOCK_CONF names, are options too."
        ),
        "Other commands:",
        "\n".join(_table(COMMANDS)),
        _wrapped(CODES),
    ]
    return as_typed("\n\n".join(parts))


def _group(group: str, text: str, folders: Sequence[Path]) -> list[str]:
    """A group with what it is and its options, which the shipped folder or a person's own has."""
    options = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
    listed = textwrap.wrap(", ".join(options), WIDTH - 6)
    return [f"  {group}=  {text}", *(f"      {line}" for line in listed)]


def _table(rows: dict[str, str]) -> list[str]:
    rows = {as_typed(name): text for name, text in rows.items()}
    width = max(map(len, rows))
    return [f"  {name.ljust(width)}  {text}" for name, text in rows.items()]


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH))
