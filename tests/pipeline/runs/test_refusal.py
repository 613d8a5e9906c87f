"""runs/refusal.py: the folder of a run that was refused goes, and nothing that is somebody's."""

import pytest

from pipeline.runs import refusal


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "day" / "run"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("")
    return folder


def test_it_goes_with_the_folders_above_it_that_are_empty_then(folder, tmp_path):
    assert refusal.is_fresh(folder)
    for name in ("run.json", "pipeline.log"):
        (folder / name).write_text("")
    assert not refusal.is_fresh(folder)
    (tmp_path / "runs" / "other").mkdir()
    refusal.remove(folder)
    assert [p.name for p in tmp_path.rglob("*")] == ["runs", "other"]


def test_what_somebody_put_there_meanwhile_stays(folder):
    (folder / "mine").write_text("")
    refusal.remove(folder)
    assert (folder / "mine").exists()


def test_nothing_above_the_current_folder_goes(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    refusal.remove(folder)
    assert [p.name for p in tmp_path.rglob("*")] == ["runs", "day"]


def test_a_folder_that_cannot_be_looked_at_may_be_somebodys():
    assert len(refusal.named([f"hydra.run.dir={'x' * 300}"])) == 1


def test_a_folder_that_was_named_and_is_there_is_somebodys(folder, tmp_path):
    typed = ["model=x", "hydra.run.dir=runs", "hydra.run.dir=nowhere"]
    assert refusal.named(typed) == [tmp_path / "runs"]
