"""Another package named `pipeline` or `stages`: reported at once, with both places."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import clash
from pipeline.errors import ConfigError

ROOT = Path(clash.__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("stages/__init__.py", "stages"),
        ("stages/net.py", "stages"),
        ("pipeline/__init__.py", "pipeline"),
        ("pipeline.py", "pipeline"),
    ],
)
def test_a_package_of_the_same_name_in_the_current_folder_is_told_with_both_places(tmp_path, monkeypatch, file, name):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"two packages are named {name}") as caught:
        clash.refuse()
    theirs = tmp_path / file if file.count("/") == 0 else (tmp_path / file).parent
    assert str(theirs) in str(caught.value)
    assert str(ROOT / name) in str(caught.value)
    assert "cd drydock" in str(caught.value)


def test_folders_without_python_and_other_checkouts_of_ours_are_none(tmp_path, monkeypatch):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "dvc.yaml").write_text("")
    (tmp_path / "pipeline").mkdir()
    for name in ("__init__.py", "artifact.py"):
        (tmp_path / "pipeline" / name).write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    clash.refuse()


@pytest.mark.parametrize(
    ("file", "typed"),
    [
        ("stages/__init__.py", ["-m", "pipeline", "plan=true"]),
        ("pipeline/__init__.py", [str(ROOT / "torch_drydock.py"), "doctor"]),
    ],
)
def test_a_command_ends_with_2_and_no_traceback(tmp_path, file, typed):
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text("")
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, *typed], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: two packages are named")
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_looked_at_holds_no_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fails(path, *args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    for name in ("is_file", "exists", "glob"):
        monkeypatch.setattr(Path, name, fails)
    clash.refuse()
