"""delivery/save.py."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from harness import contents, run_stage, world

from pipeline.artifact import Kind
from pipeline.errors import ConfigError, StageError
from stages.capture.format import TORCHSCRIPT
from stages.delivery.save import Save
from stages.formats import session
from stages.onnx import file as onnx_file


def save(name="net", **settings):
    return Save(name, **{"bundle": False, "license": None, "labels": None, "preprocessing": None, **settings})


@pytest.fixture
def external(graph, tmp_path):
    """An ONNX graph with its weights in a file of their own."""
    folder = tmp_path / "external"
    folder.mkdir()
    model = onnx_file.read(graph.file)
    onnx.save_model(
        model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=64
    )
    return replace(graph, folder=folder)


def test_an_onnx_graph_gets_the_models_name_and_its_content_stays(graph, tmp_path):
    delivered = run_stage(save("resnet50"), graph, tmp_path / "out")
    assert contents(delivered.folder) == {"resnet50.onnx": contents(graph.folder)["model.onnx"]}
    assert delivered.notes["file"] == "resnet50.onnx"


def test_both_files_of_an_ir_get_the_models_name_and_load(ir, tmp_path):
    import openvino

    delivered = run_stage(save("resnet50"), ir, tmp_path / "out")
    assert sorted(contents(delivered.folder)) == ["resnet50.bin", "resnet50.xml"]
    assert delivered.notes["file"] == "resnet50.xml"
    openvino.Core().compile_model(delivered.folder / "resnet50.xml", "CPU")


@pytest.mark.parametrize("name", ["v1.5", "mobilenet_v3_small", "ä b"])
def test_a_name_may_hold_dots_and_spaces(ir, tmp_path, name):
    import openvino

    delivered = run_stage(save(name), ir, tmp_path / "out")
    openvino.Core().compile_model(delivered.folder / f"{name}.xml", "CPU")


def test_a_weights_file_beside_the_graph_keeps_the_name_that_the_graph_knows(external, tmp_path):
    import onnxruntime

    delivered = run_stage(save("resnet50"), external, tmp_path / "out")
    assert sorted(contents(delivered.folder)) == ["model.onnx.data", "resnet50.onnx"]
    assert delivered.notes["copies"] == {"model.onnx.data": "model.onnx.data", "resnet50.onnx": "model.onnx"}
    onnxruntime.InferenceSession(delivered.folder / "resnet50.onnx", providers=["CPUExecutionProvider"])


def test_what_the_store_keeps_beside_an_artifact_is_not_delivered(graph, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph.file.read_bytes())
    (folder / "artifact.json").write_text("{}")
    delivered = run_stage(save("net"), replace(graph, folder=folder), tmp_path / "out")
    assert list(contents(delivered.folder)) == ["net.onnx"]


def test_the_copy_is_the_users_own(graph, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    save("net").run({"artifact": graph}, folder)
    assert (folder / "net.onnx").stat().st_mode & 0o200  # the store's are read-only
    assert (folder / "net.onnx").stat().st_nlink == 1
    session.open_session(graph, "float32")


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "artifact"])
def test_a_name_that_is_no_plain_file_name_is_a_problem(name):
    (problem,) = save(name).problems()
    assert problem.what == f"name is '{name}'"


def test_a_bundle_takes_the_reference_and_a_plain_copy_does_not():
    assert set(save().ports()) == {"artifact"}
    assert set(save(bundle=True).ports()) == {"artifact", "reference", "tokens"}


def test_a_bundle_of_what_its_self_check_cannot_run_is_refused_while_the_graph_is_built():
    kinds = {"artifact": TORCHSCRIPT, "reference": Kind.REFERENCE}
    assert save().makes(kinds) == Kind.DELIVERY
    with pytest.raises(ConfigError, match="self-check cannot run torchscript") as caught:
        save(bundle=True).makes(kinds)
    assert (
        caught.value.problems[0].allowed
        == "coreml, coreml_generation, onnx, onnx_generation, openvino, openvino_blob, openvino_generation"
    )


CHECKED = {"stage": "check", "of": "export", "unchecked": {"against": "", "why": "", "shapes": []}}
RECORD = {"model": "net", "drydock": "", "kind": "onnx", "precision": {"name": "fp32", "compute": "float32"}}


def bundled(graph, reference, folder, *, checks=(CHECKED,), **settings):
    stage = save(bundle=True, **settings)
    all_checks = [{"delivered": True, **c} for c in checks]
    checked = replace(graph, record={**RECORD, "checks": all_checks})
    return run_stage(stage, {"artifact": checked, "reference": reference}, folder / "out")


def test_a_bundle_has_the_artifact_and_what_checks_and_explains_it(graph, reference, tmp_path):
    delivered = bundled(graph, reference, tmp_path, labels=[str(n) for n in range(10)])
    assert sorted(contents(delivered.folder)) == [
        "README.md",
        "labels.txt",
        "net.onnx",
        "reference.npz",
        "selfcheck.py",
    ]
    assert delivered.notes == {"file": "net.onnx", "copies": {"net.onnx": "model.onnx"}, "bundle": True}


def test_without_a_check_there_is_nothing_to_hold_a_bundle_to(graph, reference, tmp_path):
    with pytest.raises(StageError, match="no check of this one is on record"):
        bundled(graph, reference, tmp_path, checks=[{"stage": "audit", "of": "export", "built": {}}])


def test_labels_of_another_number_than_the_scores_are_refused(graph, reference, tmp_path):
    with pytest.raises(StageError, match=r"labels has 2 names, and the output 'logits' has 10 scores"):
        bundled(graph, reference, tmp_path, labels=["cat", "dog"])


def test_labels_are_read_from_a_file_for_a_bundle_alone(tmp_path):
    (tmp_path / "labels.txt").write_text("Katze\nHündin\n", encoding="utf-8")
    path = str(tmp_path / "labels.txt")
    assert save(labels=path, bundle=True).settle(world(tmp_path)).labels == ["Katze", "Hündin"]
    with pytest.raises(ConfigError, match=r"labels=nowhere\.txt cannot be read"):
        save(labels="nowhere.txt", bundle=True).settle(world(tmp_path))
    assert save(labels="nowhere.txt").settle(world(tmp_path)) == save(labels="nowhere.txt")


@pytest.mark.parametrize("labels", [3, [], [1, 2], {"a": 1}, [""]])
def test_labels_that_are_no_names_are_a_problem(labels):
    (problem,) = save(labels=labels).problems()
    assert problem.what == f"labels is {labels}"
