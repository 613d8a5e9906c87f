"""pipeline/by_hydra.py: what Hydra is needed for; the commands themselves are tried in tests/test_cli.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline import by_hydra
from pipeline.sweeping import sweep


@pytest.mark.parametrize(("here", "elsewhere"), [([], False), ([True], False), ([True, False], True)])
def test_a_sweep_of_another_process_is_waited_for(monkeypatch, here, elsewhere):
    monkeypatch.setattr(sweep, "begun", [SimpleNamespace(here=each) for each in here])
    assert by_hydra.launched_elsewhere() == elsewhere


def test_no_list_of_choices_needs_a_run_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pipeline", "--version"])
    assert by_hydra.main() == 0
    assert capsys.readouterr().out.startswith("drydock ")
    assert list(tmp_path.iterdir()) == []
