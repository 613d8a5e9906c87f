"""Every command that the documents and the YAMLs show composes."""

from __future__ import annotations

import shlex

import pytest
from compositions import composed

from pipeline.config.compose import CONF

ROOT = CONF.parent
# The help's are beside words of its own.
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
YAMLS = sorted(set(CONF.rglob("*.yaml")) - set(CONF.glob("hydra/**/*")))


def commands(files):
    """The commands that files show."""
    return {
        line.strip().lstrip("# ")
        for path in files
        for line in path.read_text().replace("\\\n", " ").splitlines()
        if line.strip().lstrip("# ").startswith("python -m pipeline ")
    }


COMMANDS = sorted(commands(DOCUMENTS))
BY_YAMLS = sorted(commands(YAMLS) - {*COMMANDS})


def test_there_are_commands_in_the_documents():
    assert len(COMMANDS) + len(BY_YAMLS) > 80


@pytest.mark.parametrize("command", [*COMMANDS, *(pytest.param(c, marks=pytest.mark.slow) for c in BY_YAMLS)])
def test_every_command_in_the_documents_composes(command):
    arguments = shlex.split(command, comments=True)[3:]
    if {"-m", "--help", "--cfg"} & {*arguments} or any("…" in a or "mine" in a or "$(" in a for a in arguments):
        return
    composed(*arguments)
