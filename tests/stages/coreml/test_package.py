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
    """A package whose program is one constant in float16."""
    spec = schema.model()(specificationVersion=9)
    block = spec.mlProgram.functions["main"].block_specializations["CoreML8"]
    constant = block.operations.add(type="const")
    constant.attributes["name"].immediateValue.tensor.strings.values.append("weight")
    kind = constant.outputs.add(name="weight").type.tensorType
    kind.dataType = kind.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_name["FLOAT16"].number
    path = tmp_path / "model.mlpackage"
    package.write(spec, None, path)
    return path


def test_a_model_and_its_types_are_read_without_an_import_of_coremltools(written: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from stages.coreml import package, types
path = Path({str(written)!r})
assert package.spec_of(path).specificationVersion == 9
assert types.read(path, []).nodes["weight"].dtype == "float16"
assert not {{"coremltools", "torch"}} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_model_that_cannot_be_read_is_told_with_its_package(written: Path) -> None:
    (written / package.MODEL).write_bytes(b"no protobuf")
    with pytest.raises(StageError, match=r"model\.mlpackage is damaged: .* cannot be read"):
        package.spec_of(written)
