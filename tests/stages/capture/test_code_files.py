"""capture/code_files.py."""

from __future__ import annotations

import contextlib

import pytest
import torch

from stages.capture import code_files


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to work in with a package below it, both imported from, and a file that is in neither."""
    for name in ("work/net.py", "work/src/my_pkg/net.py", "aside/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend("src")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "relative"),
    [
        ("work/net.py", "net.py"),
        ("work/src/my_pkg/net.py", "my_pkg/net.py"),
        (torch.nn.modules.conv.__file__, "torch/nn/modules/conv.py"),
        (contextlib.__file__, "contextlib.py"),
        (code_files.__file__, "stages/capture/code_files.py"),
    ],
)
def test_a_file_is_told_from_where_it_is_imported_and_found_there_again(project, file, relative):
    path = str(project / file)
    assert code_files.relative(path) == relative
    assert code_files.located(relative) == path


@pytest.mark.parametrize(
    ("file", "relative"),
    [
        ("{project}/aside/other.py", "other.py"),  # never absolute
        ("<eval_with_key>.17", "<eval_with_key>"),
        ("<drydock>", "<drydock>"),
        ("code/__torch__/net.py", "code/__torch__/net.py"),
    ],
)
def test_what_is_imported_from_nowhere_is_told_by_its_name_and_stays_as_told(project, file, relative):
    assert code_files.relative(file.format(project=project)) == relative
    assert code_files.located(relative) == relative


def test_every_file_of_a_stack_is_told_so(project):
    stack = (
        f'  File "{project}/work/net.py", line 7, in forward\n    x = "File"\n  File "{torch.__file__}", line 9, in f'
    )
    stack_ = '  File "net.py", line 7, in forward\n    x = "File"\n  File "torch/__init__.py", line 9, in f'
    assert code_files.relative_stack(stack) == stack_
