"""loading/open_file.py: five formats, each converted and run with none of their frameworks to be had."""

from __future__ import annotations

import shutil
import subprocess
import sys

import conversions
import numpy as np
import onnx
import pytest
from conversions import opened
from harness import BATCH, FILES, backend, contents, record, run_stage, world

from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.formats import session
from stages.frameworks import formats as file_formats
from stages.frameworks.format import FILE
from stages.interface.interface import Dim, Input, Interface
from stages.loading.open_file import OpenFile
from stages.reference import cases as reference_cases

NHWC, NCHW = ["batch", 8, 8, 3], ["batch", 3, 8, 8]
# What the file is called, its input and its output by our names, and the input's shape.
FORMATS = {
    "torch.onnx": ("image_1", "logits", NCHW),
    "frozen.pb": ("image", "Identity", NHWC),
    "saved_model": ("image", "logits", NHWC),
    "lite.tflite": ("serving_default_image", "StatefulPartitionedCall", NHWC),
    "paddle.pdmodel": ("image", "linear_0_tmp_1", NCHW),
}
THEIRS = {
    "torch.onnx": ["image.1", "logits"],
    "frozen.pb": ["image:0", "Identity:0"],
    "saved_model": ["image", "logits"],
    "lite.tflite": ["serving_default_image:0", "StatefulPartitionedCall:0"],
    "paddle.pdmodel": ["image", "linear_0.tmp_1"],
}


# What is changed, where that is not the file that is named; and what makes another ONNX file of the same graph.
CHANGED = {"saved_model": "saved_model/variables/variables.index", "paddle.pdmodel": "paddle.pdiparams"}
DOC_STRING = b"\x32\x01x"


@pytest.fixture(autouse=True)
def _no_framework(monkeypatch):
    backend("openvino")
    for name in ("tensorflow", "paddle", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, name, None)  # neither found nor imported


def inputs(file):
    name, _, shape = FORMATS[file]
    return {name: Input(shape)}


@pytest.fixture
def mine(tmp_path):
    """A folder of the user's with a copy of every file, and more of their own."""
    return shutil.copytree(FILES, tmp_path / "mine")


def answers(artifact, arrays):
    return session.open_session(artifact, "float32")(arrays)


@pytest.mark.parametrize("file", FORMATS)
def test_a_file_is_converted_and_answers_what_its_own_framework_did(file, tmp_path):
    name, output, shape = FORMATS[file]
    result = opened(FILES / file, tmp_path, inputs=inputs(file))
    ir = conversions.ir(result, tmp_path / "ir")
    expected = np.load(FILES / f"{file.partition('.')[0]}.expected.npz")
    for batch in ("2", "3"):
        outputs = answers(ir, {name: expected[f"{batch}/in"]})
        assert list(outputs) == [output]
        np.testing.assert_allclose(outputs[output], expected[f"{batch}/out"], rtol=1e-5, atol=1e-5)
    assert Interface.read(result).inputs[name].shape == shape


@pytest.mark.parametrize("file", FORMATS)
def test_the_interface_says_what_the_file_says_and_how_the_file_calls_it(file, tmp_path):
    name, output, shape = FORMATS[file]
    dims = {f"{name}_dim0": Dim(1, 2, 8)}
    result = opened(FILES / file, tmp_path, dims=dims)
    interface = Interface.read(result)
    assert {n: (s.shape, s.dtype) for n, s in interface.inputs.items()} == {
        name: ([f"{name}_dim0", *shape[1:]], "float32")
    }
    assert {n: (o.shape, o.dtype) for n, o in interface.outputs.items()} == {output: ([f"{name}_dim0", 5], "float32")}
    assert result.facts["file_names"] == dict(zip((name, output), THEIRS[file], strict=True))


@pytest.mark.parametrize("file", FORMATS)
def test_a_fixed_size_and_another_range_are_reshaped_to(file, tmp_path):
    import openvino

    name, _, shape = FORMATS[file]
    result = opened(FILES / file, tmp_path, inputs={name: Input([4, *shape[1:]])}, dims={})
    ir = conversions.ir(result, tmp_path / "ir")
    assert list(openvino.Core().read_model(ir.file).input(name).shape) == [4, *shape[1:]]


@pytest.mark.parametrize("file", FORMATS)
def test_the_users_files_are_copied_whole_and_left_as_they_were(file, tmp_path, mine):
    before = contents(mine)
    result = opened(mine / file, tmp_path, inputs=inputs(file))
    assert contents(mine) == before
    digests = [h for p, h in before.items() if p == file or p.startswith(f"{file}/")]
    digests += [before["paddle.pdiparams"]] if file == "paddle.pdmodel" else []
    assert sorted(contents(result.folder).values()) == sorted(digests)
    assert all(p.stat().st_nlink == 1 for p in result.folder.rglob("*") if p.is_file())
    assert file_formats.file_of(result).exists()


@pytest.mark.parametrize("file", FORMATS)
def test_the_key_follows_the_content_and_not_the_place(file, tmp_path, mine):
    def key(path):
        stage = OpenFile(str(path), None, {}, inputs(file), BATCH, []).settle(world(tmp_path))
        return stage.identity(world(tmp_path))

    assert key(FILES / file) == key(mine / file)
    changed = mine / CHANGED.get(file, file)
    changed.write_bytes(changed.read_bytes() + (DOC_STRING if file == "torch.onnx" else b"\0"))
    assert key(FILES / file) != key(mine / file)


@pytest.mark.parametrize("file", ["frozen.pb", "saved_model", "paddle.pdmodel"])
def test_a_pin_is_what_sha256sum_prints(file, tmp_path):
    command = {
        "frozen.pb": "sha256sum frozen.pb",
        "saved_model": "cd saved_model; find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum",
        "paddle.pdmodel": "LC_ALL=C; sha256sum paddle.pd* | sha256sum",
    }[file]
    done = subprocess.run(["bash", "-c", command], cwd=FILES, capture_output=True, text=True, check=True)
    digest = done.stdout.split()[0]
    assert opened(FILES / file, tmp_path, inputs=inputs(file), sha256=digest).facts["weights"]["sha256"] == digest
    with pytest.raises(ConfigError, match=rf"has SHA-256 {digest}, the configuration says {'0' * 64}"):
        opened(FILES / file, tmp_path, inputs=inputs(file), sha256="0" * 64)


def test_names_can_be_chosen_for_what_the_file_calls_otherwise(tmp_path):
    names = {"picture": "serving_default_image:0", "scores": "StatefulPartitionedCall"}
    result = opened(FILES / "lite.tflite", tmp_path, names=names, inputs={"picture": Input(NHWC)})
    ir = conversions.ir(result, tmp_path / "ir")
    assert list(answers(ir, {"picture": np.zeros((2, 8, 8, 3), np.float32)})) == ["scores"]
    assert result.facts["file_names"]["scores"] == "StatefulPartitionedCall:0"


WRONG = [
    ({"inputs": {"imag": Input(NHWC)}}, ["inputs names 'imag'", "did you mean 'image'", '+model.names.imag="image:0"']),
    (
        {"inputs": {"image": Input(["batch", 8, 8])}},
        ["of 3 dimensions; the file's has 4", "image:0 [?, 8, 8, 3] float32"],
    ),
    ({"inputs": {"image": Input(NHWC, "int64")}}, ["inputs.image.dtype is int64, the file's is float32"]),
    ({"dims": {}}, ["dims has no image_dim0", "'+model.dims={image_dim0: {min: 1, opt: 2, max: 8}}'"]),
    ({"names": {"y": "nope:0"}}, ["names.y is 'nope:0'", "image:0, Identity:0", "+model.names.y="]),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=[w[1][0] for w in WRONG])
def test_what_the_yaml_says_is_held_to_the_file(tmp_path, settings, says):
    with pytest.raises(ConfigError) as caught:
        opened(FILES / "frozen.pb", tmp_path, **settings)
    assert [t for t in says if t not in str(caught.value)] == []


def test_a_range_that_no_input_follows_is_named(tmp_path):
    with pytest.raises(CheckFailed, match=r"dims\.height was asked for, and no input of the file follows it"):
        opened(FILES / "frozen.pb", tmp_path, dims={"image_dim0": Dim(1, 2, 8), "height": Dim(8, 8, 16)})


def test_no_path_is_a_problem_before_any_work():
    (problem,) = OpenFile("", None, {}, None, {}, []).problems()
    assert (problem.what, problem.command) == ("path is empty", "model.path=/path/to/net.tflite")


def test_names_that_no_target_takes_are_a_problem_before_any_work():
    (problem,) = OpenFile("net.pb", None, {"a:0": "image:0"}, None, {}, []).problems()
    assert problem.what == "names has 'a:0'"


def cut(file):
    return lambda mine: (mine / file).write_bytes((mine / file).read_bytes()[:300])


def linked(mine):
    (mine / "paddle.pdiparams").rename(mine / "elsewhere")
    (mine / "paddle.pdiparams").symlink_to(mine / "elsewhere")


def linked_inside(mine):
    (mine / "saved_model" / "more").symlink_to(mine)


DAMAGE = [
    (
        "paddle.pdmodel",
        lambda mine: (mine / "paddle.pdiparams").unlink(),
        "paddle.pdiparams belongs to it and is no file",
    ),
    ("paddle.pdmodel", linked, "paddle.pdiparams is a link"),
    ("saved_model", linked_inside, "saved_model/more is a link"),
    ("saved_model", lambda mine: (mine / "saved_model/saved_model.pb").unlink(), "without saved_model.pb; it holds"),
    ("saved_model/saved_model.pb", lambda mine: None, r"(?s)is a part of a SavedModel.*try:.*saved_model$"),
    ("paddle.pdiparams", lambda mine: None, r"(?s)no format that is known.*try:.*paddle\.pdmodel$"),
    ("make.py", lambda mine: None, r"(?s)ends in '\.py'.*\.onnx, \.pb, \.tflite, \.pdmodel, or a SavedModel's folder"),
    ("frozen.pb", lambda mine: (mine / "frozen.pb").unlink(), "is no file"),
    ("torch.onnx", cut("torch.onnx"), "is no ONNX model|cannot read this ONNX file"),
    ("frozen.pb", cut("frozen.pb"), "cannot read this frozen TensorFlow graph: Cannot recognize input model"),
    ("saved_model", cut("saved_model/saved_model.pb"), "cannot read this TensorFlow SavedModel: "),
    ("lite.tflite", cut("lite.tflite"), "cannot read this TensorFlow Lite file: .*corrupted or malformed"),
    ("paddle.pdmodel", cut("paddle.pdmodel"), "cannot read this PaddlePaddle program: Model can't be parsed"),
    ("paddle.pdmodel", cut("paddle.pdiparams"), "cannot read this PaddlePaddle program: "),
]


@pytest.mark.parametrize(("file", "damage", "says"), DAMAGE, ids=[f"{d[0]}: {d[2][:30]}" for d in DAMAGE])
def test_a_broken_file_is_refused_in_words(tmp_path, mine, file, damage, says):
    damage(mine)
    with pytest.raises((ConfigError, StageError), match=says) as caught:
        opened(mine / file, tmp_path)
    if isinstance(caught.value, StageError):
        assert caught.value.__cause__ is not None, "the vendor's own exception stays as the cause"


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path, mine):
    stage = OpenFile(str(mine / "saved_model"), None, {}, inputs("saved_model"), BATCH, []).settle(world(tmp_path))
    (mine / "saved_model" / "more").write_text("more")
    with pytest.raises(StageError, match="path=saved_model changed since the plan was made"):
        run_stage(stage, {}, tmp_path / "opened")


def graph_of(path, operator, inputs_, output, weights=(), *, gives=onnx.TensorProto.FLOAT, **options):
    """An ONNX file of one operator: the names and shapes of what it takes, of what it gives, and its weights."""
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node(operator, [*inputs_, *(w.name for w in weights)], [output[0]])
    takes = [info(n, onnx.TensorProto.FLOAT, shape) for n, shape in inputs_.items()]
    outputs = [info(output[0], gives, output[1])]
    graph = onnx.helper.make_graph([node], "main", takes, outputs, list(weights))
    opsets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path, **options)
    return path


def matmul(path, *, batch="N", external=None):
    """x·w for a w of ones."""
    external_options = {"save_as_external_data": True, "location": external, "size_threshold": 0} if external else {}
    ones = onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    return graph_of(path, "MatMul", {"x": [batch, 4]}, ("y", [batch, 3]), [ones], **external_options)


def test_an_onnx_graphs_weights_beside_it_are_taken_in(tmp_path):
    (tmp_path / "mine").mkdir()
    path = matmul(tmp_path / "mine" / "net.onnx", external="net.bin")
    result = opened(path, tmp_path, inputs={"x": Input(["batch", 4])})
    path.unlink()
    path.with_name("net.bin").unlink()
    ir = conversions.ir(result, tmp_path / "ir")
    assert answers(ir, {"x": np.ones((2, 4), np.float32)})["y"][0, 0] == 4


def test_weights_outside_the_files_folder_are_refused_before_any_work(tmp_path):
    path = matmul(tmp_path / "net.onnx", external="net.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../secret.bin"
    onnx.save(model, path)
    with pytest.raises(ConfigError, match=r"path=.*wants to read \.\./secret\.bin, which is outside its folder"):
        OpenFile(str(path), None, {}, None, {}, []).settle(world(tmp_path))


def test_two_names_that_become_the_same_are_told_apart(tmp_path):
    graph_of(tmp_path / "n.onnx", "Sum", {n: [2] for n in ("a.b", "a/b", "class")}, ("1", [2]))
    result = opened(tmp_path / "n.onnx", tmp_path, dims={})
    assert result.facts["file_names"] == {"a_b": "a.b", "a_b_2": "a/b", "port_class": "class", "port_1": "1"}


def test_a_size_that_the_file_has_not_is_told(tmp_path):
    result = opened(matmul(tmp_path / "net.onnx", batch=2), tmp_path, inputs={"x": Input(["batch", 4])})
    assert result.notes["caution"].startswith("reshaped x from x [2, 4] float32 to ['batch', 4]")
    with pytest.raises(StageError, match="the model rejects x 1x4"):  # onnxruntime holds the file to its word
        record(result, tmp_path / "reference", inputs=None)


def test_sizes_that_the_operators_cannot_take_are_an_error(tmp_path):
    with pytest.raises(StageError, match="cannot take inputs of 2x5"):
        opened(matmul(tmp_path / "net.onnx"), tmp_path, inputs={"x": Input(["batch", 5])})


def test_it_is_its_own_reference_where_something_runs_it(tmp_path):
    result = opened(FILES / "torch.onnx", tmp_path, inputs=inputs("torch.onnx"))
    reference = record(result, tmp_path / "reference", inputs=None)
    assert reference_cases.stands_for(reference) == "the ONNX file"
    ir = conversions.ir(result, tmp_path / "ir")
    checked = conversions.checked(ir, reference, tmp_path)
    assert len(checked.notes["parity"]["cases"]) == 4
    assert checked.notes["parity"]["against"] == "the ONNX file"


def test_a_wrong_artifact_does_not_pass_for_the_file(tmp_path):
    result = opened(FILES / "torch.onnx", tmp_path, inputs=inputs("torch.onnx"))
    reference = record(result, tmp_path / "reference", inputs=None)
    model = onnx.load(FILES / "torch.onnx")
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "torch.onnx")
    other = opened(tmp_path / "torch.onnx", tmp_path / "other", inputs=inputs("torch.onnx"))
    ir = conversions.ir(other, tmp_path / "ir")
    with pytest.raises(CheckFailed, match="does not agree with the ONNX file"):
        conversions.checked(ir, reference, tmp_path)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("frozen.pb", "tensorflow would run it, and is not installed (pip install tensorflow)"),
        ("saved_model", "tensorflow would run it, and is not installed (pip install tensorflow)"),
        ("lite.tflite", "ai_edge_litert or tensorflow would run it, and is not installed (pip install ai-edge-litert)"),
        ("paddle.pdmodel", "paddle would run it, and is not installed (pip install paddlepaddle)"),
    ],
)
def test_where_nothing_runs_it_the_artifact_is_run_and_called_not_checked(tmp_path, file, why):
    result = opened(FILES / file, tmp_path, inputs=inputs(file))
    reference = record(result, tmp_path / "reference", inputs=None)
    assert reference.facts["unanswered"] == why
    assert [(c.label, c.outputs) for c in reference_cases.read(reference)] == [
        (n, {}) for n in ("example", "min", "odd", "max")
    ]
    ir = conversions.ir(result, tmp_path / "ir")
    checked = conversions.checked(ir, reference, tmp_path)
    assert "parity" not in checked.notes
    assert checked.notes["says"].startswith(f"NOT CHECKED against the {file_formats.format_of(result).says}: {why}")
    assert len(checked.notes["unchecked"]["cases"]) == 4
    (claim,) = checked.notes["claims"].items()
    claim_ = {"against": f"the {file_formats.format_of(result).says}", "why": why}
    assert claim == ("unchecked", {**claim_, "shapes": [c["shape"] for c in checked.notes["unchecked"]["cases"]]})


def test_a_file_of_one_operator_that_answers_nan_is_refused_even_unanswered(tmp_path, monkeypatch):
    message = unchecked_error(tmp_path, monkeypatch, "Log", fill="normal")
    assert "output 'y' holds NaN or infinities" in message


def test_outputs_unlike_what_the_file_says_are_refused_even_unanswered(tmp_path, monkeypatch):
    message = unchecked_error(tmp_path, monkeypatch, "Relu", told_shape=["batch", 5])
    assert "output 'y' is 2x4, by what the file says it is 2x5" in message


def unchecked_error(folder, monkeypatch, operator, *, fill="uniform", told_shape=None):
    """What check says of a file of one operator where nothing answers for it."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    graph_of(folder / "n.onnx", operator, {"x": ["N", 4]}, ("y", ["N", 4]))
    specs = {"x": Input(["batch", 4], fill=fill)}
    result = opened(folder / "n.onnx", folder, inputs=specs)
    if told_shape:
        result.facts["interface"]["outputs"][0]["shape"] = told_shape
    ir = conversions.ir(result, folder / "ir")
    reference = record(result, folder / "reference", inputs=specs)
    with pytest.raises(CheckFailed) as caught:
        conversions.checked(ir, reference, folder)
    return str(caught.value)


def test_sizes_that_depend_on_values_are_left_open(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = graph_of(tmp_path / "n.onnx", "NonZero", {"x": ["N", 4]}, ("y", [2, "found"]), gives=onnx.TensorProto.INT64)
    result = opened(path, tmp_path, inputs={"x": Input(["batch", 4])})
    assert Interface.read(result).outputs["y"].shape == [2, None]
    reference = record(result, tmp_path / "reference", inputs=None)
    ir = conversions.ir(result, tmp_path / "ir")
    conversions.checked(ir, reference, tmp_path)


@pytest.mark.parametrize(("path", "modules"), [("n.onnx", ("openvino", "onnx")), ("n.pb", ("openvino",))])
def test_it_takes_openvino_and_no_framework(path, modules):
    assert OpenFile(path, None, {}, None, {}, []).modules({}) == modules


def test_what_could_run_a_file_is_part_of_the_references_key(monkeypatch):
    def modules():
        from stages.reference.record_reference import RecordReference

        return RecordReference(None, {}, None, None, None, False, None, [], 0, "quick", None, 16).modules(
            {"model": FILE}
        )

    assert "tensorflow" not in modules()
    assert "onnxruntime" in modules()
    monkeypatch.setattr(file_formats, "_is_installed", lambda name: name == "tensorflow")
    assert "tensorflow" in modules()


def test_outputs_are_named_where_the_file_is_opened(tmp_path):
    result = opened(FILES / "torch.onnx", tmp_path, inputs=inputs("torch.onnx"))
    with pytest.raises(ConfigError, match="outputs is \\['scores'\\]; the file's are logits"):
        record(result, tmp_path / "reference", inputs=None, outputs=["scores"])


@pytest.mark.parametrize("file", [f for f in FORMATS if f != "saved_model"])
@pytest.mark.parametrize(("share", "error"), [(0.0, ConfigError), (0.5, (ConfigError, StageError))])
def test_an_empty_file_and_one_that_is_cut_off_are_refused(file, share, error, mine, tmp_path):
    whole = (mine / file).read_bytes()
    (mine / file).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(error, match=f"{'is empty' if not share else 'cannot read|is no ONNX model'}"):
        opened(mine / file, tmp_path)


def test_a_file_that_parses_and_holds_no_model_is_refused(mine, tmp_path):
    (mine / "paddle.pdmodel").write_bytes(b"\x22\x00")  # a version of nothing, and no block of operators
    with pytest.raises(StageError, match="holds no model: it has no outputs"):
        opened(mine / "paddle.pdmodel", tmp_path)


def test_an_operator_that_openvino_lacks_is_named(tmp_path):
    program = (FILES / "paddle.pdmodel").read_bytes().replace(b"relu", b"relx")
    (tmp_path / "net.pdmodel").write_bytes(program)
    shutil.copyfile(FILES / "paddle.pdiparams", tmp_path / "net.pdiparams")
    with pytest.raises(StageError, match=r"(?s)OpenVINO has no conversion rule for relx.*target\.extensions"):
        opened(tmp_path / "net.pdmodel", tmp_path)
