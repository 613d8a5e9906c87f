"""A record in a model file: any reader of the format still reads it, finds the record, and all else is as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.record.carrier import Carrier
from stages.coreml.record import Record as Package
from stages.onnx.record import Record as Onnx
from stages.openvino.record import Record as Ir
from stages.tensorrt.record import Record as Card

AWKWARD = """{"says":"it's \\"quoted\\" & <tagged> — ü","n":[1,2.5,null]}"""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph, as ONNX with metadata and as IR, and an IR without runtime information."""
    import onnx
    import openvino as ov
    from onnx import TensorProto, helper

    folder = tmp_path_factory.mktemp("models")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in "xy")
    model = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    helper.set_model_props(model, {"drydock.source": "mine", "author": "me"})
    onnx.save(model, folder / "net.onnx")
    converted = ov.convert_model(folder / "net.onnx")
    converted.set_rt_info("theirs", ["drydock", "weights"])
    ov.save_model(converted, folder / "net.xml", compress_to_fp16=False)
    text = (folder / "net.xml").read_text()
    (folder / "bare.xml").write_text(text[: text.rindex("\t<rt_info>")] + "</net>\n")
    shutil.copy(folder / "net.bin", folder / "bare.bin")
    (folder / "net.json").write_text(json.dumps({"host": {"gpu": "a } b"}, "layers": {}}, indent=1) + "\n")
    return folder


@pytest.fixture
def models(shipped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped, tmp_path / "models"))


CARRIED = [(Onnx, "net.onnx"), (Ir, "net.xml"), (Ir, "bare.xml"), (Card, "net.json")]


@pytest.mark.parametrize(("carrier", "name"), CARRIED, ids=[n for _, n in CARRIED])
@pytest.mark.parametrize("text", ["{}", AWKWARD, '{"long":"' + 70_000 * "x" + '"}'], ids=["short", "awkward", "long"])
def test_what_is_put_in_is_found_again_and_can_be_taken_out(
    carrier: Carrier, name: str, text: str, models: Path
) -> None:
    path = models / name
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (carrier.get(path), carrier.bare(path)) == (None, before)
    carrier.put(path, text)
    assert (carrier.get(path), carrier.bare(path)) == (text, before)


def test_an_onnx_file_with_a_record_is_what_it_was(models: Path) -> None:
    import onnx
    import onnxruntime as ort

    before = (models / "net.onnx").read_bytes()
    Onnx.put(models / "net.onnx", AWKWARD)
    assert (models / "net.onnx").read_bytes().startswith(before)
    model = onnx.load(models / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {p.key: p.value for p in model.metadata_props} == {
        "drydock.source": "mine",
        "author": "me",
        "drydock.record": AWKWARD,
    }
    session = ort.InferenceSession(models / "net.onnx")
    assert session.get_modelmeta().custom_metadata_map["drydock.record"] == AWKWARD
    assert session.run(None, {"x": np.array([[-1, 0, 2]], np.float32)})[0].tolist() == [[0, 0, 2]]


def test_a_record_is_found_wherever_another_writer_puts_it(models: Path) -> None:
    import onnx

    Onnx.put(models / "net.onnx", AWKWARD)
    onnx.save(onnx.load(models / "net.onnx"), models / "again.onnx")
    assert Onnx.get(models / "again.onnx") == AWKWARD


@pytest.mark.parametrize("name", ["net.xml", "bare.xml"])
def test_openvino_reads_an_ir_with_a_record_and_writes_it_again(name: str, models: Path) -> None:
    import openvino as ov

    Ir.put(models / name, AWKWARD)
    model = ov.Core().read_model(models / name)
    assert model.get_rt_info(["drydock_record"]).astype(str) == AWKWARD
    if name == "net.xml":
        assert model.get_rt_info(["drydock", "weights"]).astype(str) == "theirs"
    inputs = np.array([[-1, 0, 2]], np.float32)
    assert ov.Core().compile_model(model, "CPU")(inputs)[0].tolist() == [[0, 0, 2]]
    ov.save_model(model, models / "again.xml", compress_to_fp16=False)
    assert Ir.get(models / "again.xml") == AWKWARD


BROKEN = [
    (Onnx, b"PK\x03\x04 a zip archive", "no ONNX file"),
    (Onnx, b"\x3a\xff\x01", "no whole ONNX file"),
    (Onnx, b"\x80" * 12, "no number"),
    (Ir, b"<html></html>", "<html>"),
    (Ir, b"not xml", "no OpenVINO IR"),
]


@pytest.mark.parametrize(("carrier", "content", "message"), BROKEN, ids=[t for *_, t in BROKEN])
def test_what_is_no_such_file_is_refused(carrier: Carrier, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        carrier.get(tmp_path / "file")


def test_what_does_not_end_as_an_ir_does_is_given_no_record(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_text("<net>")
    with pytest.raises(ValueError, match="does not end with </net>"):
        Ir.put(tmp_path / "net.xml", "{}")


@pytest.fixture(scope="module")
def mlmodel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a Core ML package, with metadata of its own."""
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model(specificationVersion=7)
    model.description.input.add(name="x")
    model.description.metadata.author = "me"
    model.description.metadata.userDefined["drydock.capture"] = "trace"
    model.mlProgram.version = 1
    path = tmp_path_factory.mktemp("coreml") / "model.mlmodel"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_core_ml_model_with_a_record_is_what_it_was(mlmodel: Path, tmp_path: Path) -> None:
    from coremltools.proto import Model_pb2

    path = Path(shutil.copy(mlmodel, tmp_path))
    assert (Package.get(path), Package.bare(path)) == (None, hashlib.sha256(mlmodel.read_bytes()).hexdigest())
    Package.put(path, AWKWARD)
    assert (Package.get(path), Package.bare(path)) == (AWKWARD, hashlib.sha256(mlmodel.read_bytes()).hexdigest())
    read = Model_pb2.Model.FromString(path.read_bytes())
    metadata = read.description.metadata
    assert dict(metadata.userDefined) == {"drydock.capture": "trace", "drydock.record": AWKWARD}
    assert (metadata.author, [i.name for i in read.description.input], read.mlProgram.version) == ("me", ["x"], 1)


def test_a_core_ml_model_that_was_changed_has_another_bare_content(mlmodel: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(mlmodel, tmp_path))
    Package.put(path, AWKWARD)
    path.write_bytes(path.read_bytes().replace(b"trace", b"trade"))
    assert Package.bare(path) != hashlib.sha256(mlmodel.read_bytes()).hexdigest()
    path.write_bytes(b"\x0f" + path.read_bytes())
    with pytest.raises(ValueError, match="is no Core ML model: wire type 7"):
        Package.get(path)
