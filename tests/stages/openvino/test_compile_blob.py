"""openvino/compile_blob.py and blob.py: a blob for one device, proven to load and to infer, refused elsewhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from harness import backend, contents, run_stage, tolerance, world

from pipeline.artifact import Artifact
from pipeline.errors import BackendMissing, CheckFailed, StageError
from stages.checking.check import Check
from stages.formats import session
from stages.openvino import blob as blob_files
from stages.openvino.compile_blob import CompileBlob
from stages.openvino.format import OPENVINO_BLOB

BLOB = CompileBlob("CPU", "float32", {}, [])


@pytest.fixture(scope="module")
def blob(ir, tmp_path_factory) -> Artifact:
    backend("openvino")
    return run_stage(BLOB, ir, tmp_path_factory.mktemp("blob") / "made")


def ties_of(artifact):
    return json.loads((artifact.folder / "model.json").read_text())


def elsewhere(blob, folder, **changed):
    """A copy of a blob with other ties."""
    shutil.copytree(blob.folder, folder)
    (folder / "model.json").chmod(0o644)
    (folder / "model.json").write_text(json.dumps({**ties_of(blob), **changed}))
    return replace(blob, folder=folder)


def test_it_is_loaded_and_agrees_with_the_model_at_every_shape(blob, reference, tmp_path):
    stage = Check("float32", {}, [], tolerance("fp32"), False)
    checked = run_stage(stage, {"artifact": blob, "reference": reference}, tmp_path / "check")
    assert len(checked.notes["parity"]["cases"]) == 4


def test_the_ir_that_runs_anywhere_stays_beside_it_and_takes_no_space(blob, ir):
    assert sorted(contents(blob.folder)) == ["model.bin", "model.blob", "model.json", "model.xml"]
    for name in ("model.xml", "model.bin"):
        assert (blob.folder / name).samefile(ir.folder / name)


def test_it_says_what_it_is_tied_to_and_what_to_load_it_with(blob):
    import openvino

    ties = ties_of(blob)
    assert ties["openvino"] == openvino.get_version()
    assert (ties["device"], ties["device_name"]) == ("CPU", openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))
    assert "isa=" in ties["requirements"]
    assert ties["properties"] == {"INFERENCE_PRECISION_HINT": "f32"}
    assert blob.facts["blob"] == ties


def test_it_computes_in_what_it_was_compiled_for_although_the_blob_does_not_know(blob):
    import openvino

    assert session.open_session(blob, "float32").computes_in == "float32"
    core = openvino.Core()
    ours = core.import_model(blob.file.read_bytes(), "CPU", ties_of(blob)["properties"])
    assert ours.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_it_is_loaded_with_what_it_was_compiled_for_unless_something_else_is_asked(blob):
    import openvino

    loaded = blob_files.import_blob(openvino.Core(), blob, {})
    assert loaded.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


ELSEWHERE = [
    ({"openvino": "2025.1.0-1-abc"}, r"made by OpenVINO 2025\.1\.0-1-abc for CPU .*; this is OpenVINO 20"),
    ({"device": "NPU"}, r"for NPU .*; this is a machine with .*CPU"),
    ({"requirements": "meta=1.0;isa=Intel AMX"}, r"isa=Intel AMX; this is '.*', .*isa="),
    ({"requirements": "", "device_name": "Arc"}, r"for CPU 'Arc'; this is "),
]


@pytest.mark.parametrize(("changed", "says"), ELSEWHERE)
def test_elsewhere_it_is_refused_with_what_it_was_made_for_and_what_this_is(blob, tmp_path, changed, says):
    with pytest.raises(StageError, match=says) as caught:
        session.open_session(elsewhere(blob, tmp_path / "else", **changed), "float32")
    assert "the IR beside it runs anywhere" in caught.value.problems[0].allowed


def test_without_a_plugins_word_the_devices_name_is_what_counts(blob, tmp_path):
    session.open_session(elsewhere(blob, tmp_path / "else", requirements=""), "float32")


def test_a_damaged_blob_keeps_openvinos_own_message(blob, tmp_path):
    spoiled = elsewhere(blob, tmp_path / "else")
    spoiled.file.chmod(0o644)
    spoiled.file.write_bytes(b"garbage" * 1000)
    with pytest.raises(StageError, match=r"CPU does not take this blob: .*requirements magic"):
        session.open_session(spoiled, "float32")


def test_a_blob_without_its_ties_is_not_loaded(blob, tmp_path):
    bare = elsewhere(blob, tmp_path / "else")
    (bare.folder / "model.json").unlink()
    with pytest.raises(StageError, match=r"model\.json beside the blob does not say"):
        session.open_session(bare, "float32")


def test_another_processor_is_another_key(tmp_path, monkeypatch):
    here = world(tmp_path)
    before = BLOB.identity(here)
    monkeypatch.setattr(type(here), "processor", lambda self: {"name": "another"})
    assert BLOB.identity(here) != before


def test_a_device_that_is_not_there_is_a_missing_back_end(tmp_path):
    backend("openvino")
    with pytest.raises(BackendMissing, match="device is GPU, which this machine does not have"):
        replace(BLOB, device="GPU").settle(world(tmp_path))


@pytest.mark.parametrize("device", ["", "AUTO", "MULTI:CPU,GPU", "HETERO:GPU,CPU"])
def test_what_is_not_one_device_is_a_problem(device):
    (problem,) = replace(BLOB, device=device).problems()
    assert problem.what == f"device is '{device}'"


def test_a_property_is_set_and_recorded(ir, tmp_path):
    backend("openvino")
    compiled = run_stage(replace(BLOB, properties={"EXECUTION_MODE_HINT": "ACCURACY"}), ir, tmp_path / "blob")
    assert ties_of(compiled)["properties"]["EXECUTION_MODE_HINT"] == "ACCURACY"


def test_a_precision_that_the_device_does_not_honour_is_a_failure(ir, tmp_path):
    import openvino

    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes in float16")
    with pytest.raises(CheckFailed, match="asked to compute in float16"):
        run_stage(replace(BLOB, compute="float16"), ir, tmp_path / "blob")


def test_its_file_is_delivered_under_the_models_name(blob, tmp_path):
    from stages.delivery.save import Save

    saved = run_stage(Save("net", False, None, None, None), blob, tmp_path / "out")
    assert sorted(contents(saved.folder)) == ["net.bin", "net.blob", "net.json", "net.xml"]
    assert saved.notes["file"] == f"net{OPENVINO_BLOB.file[5:]}"
