"""coreml/package.py: the model of a package, written and read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import backend

from pipeline.errors import StageError
from stages.coreml import package
from stages.coreml.mil import schema

backend("coremltools")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "model.mlpackage"
    package.write(schema.model()(specificationVersion=9), None, path)
    return path


def test_a_model_is_read_back_without_an_import_of_coremltools(written: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from stages.coreml import package
assert package.spec_of(Path({str(written)!r})).specificationVersion == 9
assert not {{"coremltools", "torch"}} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_model_that_cannot_be_read_is_told_with_its_package(written: Path) -> None:
    (written / package.MODEL).write_bytes(b"no protobuf")
    with pytest.raises(StageError, match=r"model\.mlpackage is damaged: .* cannot be read"):
        package.spec_of(written)
