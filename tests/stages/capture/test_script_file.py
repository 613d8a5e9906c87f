"""capture/script_file.py."""

from __future__ import annotations

import pickle
import re

import pytest
import torch
from nets import TinyConv
from pickles import archived, tells_where

from stages.capture import script_file

EXAMPLE = torch.ones(2, 3, 8, 8)


@pytest.fixture(params=["trace", "script"])
def saved(request, tmp_path):
    """A file as torch writes it, and as we do."""
    net = TinyConv().eval()
    script = torch.jit.script(net) if request.param == "script" else torch.jit.trace(net, EXAMPLE)
    torchs, ours = tmp_path / "torchs" / "model.pt", tmp_path / "model.pt"
    torchs.parent.mkdir()
    torch.jit.save(script, torchs)
    ours.write_bytes(torchs.read_bytes())
    script_file.make_equal(ours)
    return torchs, ours


def constants(code):
    return [line for line in code.decode().splitlines() if " : Final[" in line]


def test_paths_go_and_all_else_is_there(saved):
    before, after = map(archived, saved)
    assert list(after) == list(before)
    assert tells_where(saved[0])
    assert not tells_where(saved[1])
    changed = {name for name in before if before[name] != after[name]} - {script_file.IDENTITY}
    assert all(name.startswith("code/") for name in changed)
    for name in changed - {name for name in changed if name.endswith(script_file.DEBUG)}:
        assert sorted(before[name].splitlines()) == sorted(after[name].splitlines())


def test_it_answers_as_before(saved):
    before, after = map(torch.jit.load, saved)
    assert torch.equal(before(EXAMPLE), after(EXAMPLE))


def test_constants_are_in_order(saved):
    for name, record in archived(saved[1]).items():
        if name.endswith(".py"):
            assert constants(record) == sorted(constants(record))


def test_each_node_is_told_from_the_same_line(saved):
    def lines(path, pattern):
        nodes = torch.jit.load(path).inlined_graph.nodes()
        return [re.findall(pattern, str(n.sourceRange())) for n in nodes if n.kind().startswith("aten::")]

    before, after = (lines(path, r'([\w<>]+\.py"?, line \d+|\w+\.py\(\d+\))') for path in saved)
    assert before == after
    assert any("nets.py" in line for place in after for line in place)


def test_source_ranges_of_another_format_are_refused(saved):
    with pytest.raises(ValueError, match="source ranges begin with 'ANOTHER'"):
        script_file._without_paths(pickle.dumps(("ANOTHER", (), ())))
