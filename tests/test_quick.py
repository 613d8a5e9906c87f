"""quick.py: which tests a change calls for."""

from pathlib import Path

import pytest
from quick import chosen

ROOT = Path(__file__).resolve().parents[1]
CALLED = {
    "stages/onnx/simplify.py": "tests/stages/onnx",
    "stages/coreml/mil/ops/shape.py": "tests/stages/coreml/mil",
    "stages/toy/gone.py": None,
    "pipeline/store/key.py": "tests/pipeline/store",
    "pipeline/doctor.py": "tests/pipeline/test_doctor.py",
    "pipeline/stage.py": "tests",
    "pyproject.toml": "tests",
    "conf/target/onnx.yaml": "tests/test_conf.py",
    "tests/stages/onnx/test_file.py": "tests/stages/onnx/test_file.py",
    "tests/stages/conftest.py": "tests/stages",
    "tests/shop/net.py": "tests/test_cli.py",
    "CONTRIBUTING.md": "tests/test_contributing.py",
}


@pytest.mark.parametrize(("file", "test"), CALLED.items(), ids=CALLED)
def test_a_changed_file_calls_for_the_tests_of_its_room(file: str, test: str | None) -> None:
    found = chosen(ROOT, [file])
    assert test is None or test in found
    assert set(found.values()) <= {file}


def test_a_file_in_a_room_does_not_call_for_the_rooms_of_others() -> None:
    found = chosen(ROOT, ["stages/onnx/simplify.py"])
    assert not {"tests", "tests/stages", "tests/stages/coreml", "tests/test_cli.py"} & found.keys()


def test_a_test_file_in_a_folder_that_is_called_for_is_named_once() -> None:
    found = chosen(ROOT, ["stages/onnx/file.py", "tests/stages/onnx/test_file.py"])
    assert [test for test in found if test.startswith("tests/stages/onnx")] == ["tests/stages/onnx"]
