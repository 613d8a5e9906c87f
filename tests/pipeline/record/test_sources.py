"""Which source files are behind a stage."""

from __future__ import annotations

import pytest

from pipeline.record import sources


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose stage imports one module at its top, one in a function, and none of a third."""
    folder = tmp_path / tmp_path.name  # a name of its own: what was once imported stays
    folder.mkdir()
    me = folder.name
    (folder / "__init__.py").write_text("")
    (folder / "stage.py").write_text(f"import os\nfrom {me} import near\n\n\ndef run():\n    from {me}.far import x\n")
    (folder / "near.py").write_text(f"import {me}.stage\nWIRE = '{me}.wired'\n")
    (folder / "far.py").write_text("x = 1\n")
    (folder / "wired.py").write_text("")
    (folder / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_stage_stands_on_what_its_package_imports_anywhere_or_names(package):
    found = sources.of([f"{package.name}.stage.Stage"])
    assert list(found) == [package.name, *(f"{package.name}.{m}" for m in ("far", "near", "stage", "wired"))]


def test_a_changed_line_changes_the_digest_of_its_module_alone(package):
    before = sources.of([f"{package.name}.stage.Stage"])
    (package / "far.py").write_text("x = 2\n")
    after = sources.of([f"{package.name}.stage.Stage"])
    changed = {m for m in before if before[m] != after[m]}
    assert changed == {f"{package.name}.far"}
    assert sources.touched(f"{package.name}.stage.Stage", {*changed, f"{package.name}.other"}) == sorted(changed)


def test_a_shipped_stage_stands_on_its_nouns_and_on_no_other_stage():
    found = sources.of(["stages.check.Check"])
    assert {"stages.check", "stages.reference.parity", "stages.portable.compare", "stages.onnx.runtime"} < set(found)
    assert "stages.save" not in found
