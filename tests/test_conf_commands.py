"""Every command that the documents and the YAMLs show composes."""

from __future__ import annotations

import shlex

import pytest
from compositions import composed
from pages import PAGES, blocks

from pipeline.config.compose import CONF

# The help's are beside words of its own.
YAMLS = sorted(set(CONF.rglob("*.yaml")) - set(CONF.glob("hydra/**/*")))
PIPELINE = "python -m pipeline "
# Blocks of bash go on from one another, and are run as they stand: test_pages.
SHOWN = [b for page in PAGES if page.parent.parent.name != "examples" for b in blocks(page) if b.language != "bash"]
COMMANDS = sorted({c for block in SHOWN for c in block.commands if c.startswith(PIPELINE)})
BY_YAMLS = sorted(
    {
        line.strip().lstrip("# ")
        for path in YAMLS
        for line in path.read_text().replace("\\\n", " ").splitlines()
        if line.strip().lstrip("# ").startswith(PIPELINE)
    }
    - {*COMMANDS}
)


def test_there_are_commands_in_the_documents():
    assert len(COMMANDS) + len(BY_YAMLS) > 80


@pytest.mark.parametrize("command", [*COMMANDS, *(pytest.param(c, marks=pytest.mark.slow) for c in BY_YAMLS)])
def test_every_command_in_the_documents_composes(command):
    arguments = shlex.split(command, comments=True)[3:]
    if {"-m", "--help", "--cfg"} & {*arguments} or any("…" in a or "mine" in a or "$(" in a for a in arguments):
        return
    composed(*arguments)
