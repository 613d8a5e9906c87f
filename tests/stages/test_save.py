"""stages/save.py."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from harness import contents, run_stage

from stages import _onnx_file
from stages.runtimes import session
from stages.save import Save


@pytest.fixture
def external(graph, tmp_path):
    """An ONNX graph with its weights in a file of their own."""
    folder = tmp_path / "external"
    folder.mkdir()
    model = _onnx_file.read(graph.file)
    onnx.save_model(
        model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=64
    )
    return replace(graph, folder=folder)


def test_an_onnx_graph_gets_the_models_name_and_its_content_stays(graph, tmp_path):
    made = run_stage(Save("resnet50"), graph, tmp_path / "out")
    assert contents(made.folder) == {"resnet50.onnx": contents(graph.folder)["model.onnx"]}
    assert made.notes["file"] == "resnet50.onnx"


def test_both_files_of_an_ir_get_the_models_name_and_load(ir, tmp_path):
    import openvino

    made = run_stage(Save("resnet50"), ir, tmp_path / "out")
    assert sorted(contents(made.folder)) == ["resnet50.bin", "resnet50.xml"]
    assert made.notes["file"] == "resnet50.xml"
    openvino.Core().compile_model(made.folder / "resnet50.xml", "CPU")


@pytest.mark.parametrize("name", ["v1.5", "mobilenet_v3_small", "ä b"])
def test_a_name_may_hold_dots_and_spaces(ir, tmp_path, name):
    import openvino

    made = run_stage(Save(name), ir, tmp_path / "out")
    openvino.Core().compile_model(made.folder / f"{name}.xml", "CPU")


def test_a_weights_file_beside_the_graph_keeps_the_name_that_the_graph_knows(external, tmp_path):
    import onnxruntime

    made = run_stage(Save("resnet50"), external, tmp_path / "out")
    assert sorted(contents(made.folder)) == ["model.onnx.data", "resnet50.onnx"]
    onnxruntime.InferenceSession(made.folder / "resnet50.onnx", providers=["CPUExecutionProvider"])


def test_what_the_store_keeps_beside_an_artifact_is_not_delivered(graph, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph.file.read_bytes())
    (folder / "artifact.json").write_text("{}")
    made = run_stage(Save("net"), replace(graph, folder=folder), tmp_path / "out")
    assert list(contents(made.folder)) == ["net.onnx"]


def test_the_copy_is_the_users_own(graph, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    Save("net").run({"artifact": graph}, folder)
    assert (folder / "net.onnx").stat().st_mode & 0o200  # the store's are read-only
    assert (folder / "net.onnx").stat().st_nlink == 1
    session.open_session(graph, "float32")


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden"])
def test_a_name_that_is_no_plain_file_name_is_a_problem(name):
    (problem,) = Save(name).problems()
    assert problem.what == f"name is '{name}'"
