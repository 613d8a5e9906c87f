"""loading/open_onnx.py, and the reference that an ONNX file is for itself."""

from __future__ import annotations

import hashlib
import shlex

import numpy as np
import onnx
import pytest
from harness import BATCH, contents, record, run_stage, world
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.checking.audit import Audit
from stages.formats import session
from stages.interface.interface import Dim, Input, Interface
from stages.loading.open_onnx import OpenOnnx
from stages.reference import cases as reference_cases


def make(path, *, batch="batch", name="input.1", opset=13, external=None):
    """x·w for a w of ones, with as many dots in the names as exporters like to use."""
    info = onnx.helper.make_tensor_value_info
    weight = onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", [name, "w"], ["out.0"])],
        "main",
        [info(name, onnx.TensorProto.FLOAT, [batch, 4])],
        [info("out.0", onnx.TensorProto.FLOAT, [batch, 3])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    if external is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    return path


def opened(path, folder, *, inputs=None, dims=BATCH, sha256=None):
    stage = OpenOnnx(str(path), sha256, inputs, dims).settle(world(folder))
    return run_stage(stage, {}, folder / "opened")


def test_a_file_keeps_its_names_its_opset_and_its_dimensions(tmp_path):
    result = opened(make(tmp_path / "net.onnx"), tmp_path)
    interface = Interface.read(result)
    assert {n: (s.shape, s.dtype) for n, s in interface.inputs.items()} == {"input.1": (["batch", 4], "float32")}
    assert {n: o.shape for n, o in interface.outputs.items()} == {"out.0": ["batch", 3]}
    assert result.facts["opset"] == 13
    assert onnx.load(result.file).opset_import[0].version == 13


def test_it_is_its_own_reference(tmp_path):
    result = opened(make(tmp_path / "net.onnx"), tmp_path)
    reference = record(result, tmp_path / "reference", inputs=None)
    cases = list(reference_cases.read(reference))
    assert [c.label for c in cases] == ["example", "min", "odd", "max"]
    for case in cases:
        array = case.inputs["input.1"]
        np.testing.assert_allclose(case.outputs["out.0"], array.sum(1, keepdims=True).repeat(3, 1), rtol=1e-6)


def test_the_users_file_is_left_as_it_was(tmp_path):
    (tmp_path / "mine").mkdir()
    path = make(tmp_path / "mine" / "net.onnx", external="net.bin")
    before = contents(path.parent)
    opened(path, tmp_path)
    assert contents(path.parent) == before


def test_external_weights_are_taken_in_and_are_part_of_the_key(tmp_path):
    path = make(tmp_path / "net.onnx", external="net.bin")
    stage = OpenOnnx(str(path), None, None, BATCH)
    before = stage.settle(world(tmp_path)).identity(world(tmp_path))
    result = opened(path, tmp_path)
    assert session.open_session(result, "float32")({"input.1": np.ones((2, 4), np.float32)})["out.0"][0, 0] == 4
    weights = (tmp_path / "net.bin").read_bytes()
    (tmp_path / "net.bin").write_bytes(bytes(reversed(weights)))
    assert stage.settle(world(tmp_path)).identity(world(tmp_path)) != before


@pytest.mark.parametrize("location", ["../secret.bin", "sub/../../secret.bin", "sub/net.bin", "/etc/passwd"])
def test_weights_outside_the_files_folder_are_refused_before_any_work(tmp_path, location):
    (tmp_path / "mine").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 48)
    path = make(tmp_path / "mine" / "net.onnx", external="net.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    onnx.save(model, path)
    with pytest.raises(ConfigError, match=r"wants to read .*, which is outside its folder"):
        OpenOnnx(str(path), None, None, BATCH).settle(world(tmp_path))


def test_a_link_out_of_the_files_folder_is_refused_too(tmp_path):
    (tmp_path / "mine").mkdir()
    path = make(tmp_path / "mine" / "net.onnx", external="net.bin")
    (tmp_path / "mine" / "net.bin").rename(tmp_path / "secret.bin")
    (tmp_path / "mine" / "net.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ConfigError, match="outside its folder"):
        OpenOnnx(str(path), None, None, BATCH).settle(world(tmp_path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:40]), "is no ONNX model|is no sound ONNX model"),
        (lambda p: p.write_bytes(b"not a protobuf at all"), "is no ONNX model"),
        (lambda p: p.unlink(), "cannot be read: No such file"),
        (lambda p: (p.parent / "net.bin").unlink(), "net.bin cannot be read"),
    ],
    ids=["truncated", "text", "gone", "weights gone"],
)
def test_a_broken_file_is_refused_in_words(tmp_path, change, says):
    path = make(tmp_path / "net.onnx", external="net.bin")
    change(path)
    with pytest.raises((ConfigError, StageError), match=says):
        opened(path, tmp_path)


def test_another_digest_than_the_one_that_is_pinned_is_refused(tmp_path):
    path = make(tmp_path / "net.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert opened(path, tmp_path, sha256=digest).facts["weights"]["sha256"] == digest
    with pytest.raises(ConfigError, match=rf"has SHA-256 {digest}, the configuration says {'0' * 64}"):
        opened(path, tmp_path, sha256="0" * 64)


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path):
    path = make(tmp_path / "net.onnx")
    stage = OpenOnnx(str(path), None, None, BATCH).settle(world(tmp_path))
    make(path, opset=14)
    with pytest.raises(StageError, match="changed since the plan was made"):
        run_stage(stage, {}, tmp_path / "opened")


def test_a_dynamic_dimension_without_a_range_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)dims has no N.*'\+model\.dims=\{N: \{min: 1, opt: 2, max: 8\}\}'"):
        opened(make(tmp_path / "net.onnx", batch="N"), tmp_path)


PICTURE = "float[batch,3,height,width] image"
STATE = "float[a,2] x, float[3,b,2] state"
IDS = "int64[n,k] ids"
CUBE = f"<float[4,3,1,1] w = {{{','.join(['1'] * 12)}}}>"
TABLE = f"<float[7,2] w = {{{','.join(map(str, range(14)))}}}>"


@pytest.mark.parametrize(
    ("inputs", "does", "rank", "dims", "suggested"),
    [
        # Halved five times and doubled again, and added to what it was: multiples of 32.
        (
            PICTURE,
            "y = Identity(image) p = AveragePool<kernel_shape=[32,32],strides=[32,32],ceil_mode=0>(image) "
            "u = Resize(p,,scales) z = Add(image, u)",
            4,
            "height: {min: 64, opt: 64, max: 128, multiple: 32}, width: {min: 64",
            "'+model.dims={batch: {min: 1, opt: 2, max: 8}, height",
        ),
        # A state whose batch has another name, and no first place, is the batch.
        (
            STATE,
            "u = Unsqueeze(x, none) z = Concat<axis=0>(u, state)",
            3,
            "batch: {min: 1, opt: 2, max: 8}",
            "'model.inputs={x: {shape: [batch, 2]}, state",
        ),
        # What is multiplied by a weight has its size.
        ("float[n,m] x", "z = MatMul(x, five)", 2, "", "'model.inputs={x: {shape: [n, 5]}}' '+model.dims={n"),
    ],
    ids=["multiples", "two that are one", "one size"],
)
def test_what_is_suggested_for_missing_ranges_works(tmp_path, inputs, does, rank, dims, suggested):
    weights = "<float[4] scales = {1, 1, 32, 32}, float[5,1] five = {1, 2, 3, 4, 5}, int64[1] none = {0}>"
    path = written(tmp_path, f"({inputs}) => (float[{','.join('?' * rank)}] z) {weights} {{ {does} }}")
    with pytest.raises(ConfigError) as refused:
        opened(path, tmp_path, dims={})
    command = refused.value.problems[0].command
    assert suggested in command
    assert dims in command
    result = opened(path, tmp_path / "again", **pasted(command))
    assert len(list(reference_cases.read(record(result, tmp_path / "reference", inputs=None)))) > 1


def written(folder, graph, opset=13):
    """A graph in ONNX's own notation."""
    onnx.save(
        onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> main {graph}'), folder / "net.onnx"
    )
    return folder / "net.onnx"


def pasted(command):
    """Settings of the stage, by what a message says to type."""
    settings = {}
    for word in shlex.split(command):
        override = OverridesParser.create().parse_override(word)
        kind = Input if override.key_or_group == "model.inputs" else Dim
        settings[override.key_or_group.removeprefix("model.")] = {n: kind(**v) for n, v in override.value().items()}
    return settings


def test_names_that_cannot_be_typed_give_way_to_places(tmp_path):
    path = make(tmp_path / "net.onnx", batch="p2o.DynamicDimension.0")
    dim = {"input_1_dim0": Dim(1, 2, 8)}
    result = opened(path, tmp_path, dims=dim)
    assert "input_1_dim0 is p2o.DynamicDimension.0 at dimension 0 of 'input.1'" in result.notes["says"]
    assert Interface.read(result).inputs["input.1"].shape == ["input_1_dim0", 4]
    make(path, batch="batch size")
    assert Interface.read(opened(path, tmp_path / "b", dims={"batch_size": Dim(1, 2, 8)})).dims.keys() == {"batch_size"}


def test_an_open_dimension_is_fixed_in_the_graph_and_in_what_follows_it(tmp_path):
    path = written(tmp_path, f"({PICTURE}) => (float[?,?,?,?] z) {CUBE} {{ z = Conv(image, w) }}")
    inputs = {"image": Input(["batch", 3, 8, "across"])}
    result = opened(path, tmp_path, inputs=inputs, dims={**BATCH, "across": Dim(2, 4, 8)})
    graph = onnx.load(result.file).graph
    sizes = [[d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert sizes == [["batch", 3, 8, "across"], ["batch", 4, 8, ""]]
    assert "fixed height at 8 (dimension 2 of 'image')" in result.notes["says"]


@pytest.mark.parametrize("fixed", [1, 2])
def test_a_fixed_batch_is_freed_where_rows_stay_the_same(tmp_path, fixed):
    graph = f"(float[{fixed},4] x) => (float[?,?] y) <int64[2] s = {{{fixed}, -1}}> {{ r = Relu(x) y = Reshape(r, s) }}"
    result = opened(written(tmp_path, graph), tmp_path, inputs={"x": Input(["batch", 4])})
    assert f"batch made dynamic, which the file fixes at {fixed}: rows at 4 sizes are equal" in result.notes["says"]
    assert session.open_session(result, "float32")({"x": np.ones((5, 4), np.float32)})["y"].shape == (5, 4)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("y = Softmax<axis=0>(x)", "its rows differ"),
        ("y = Reshape(x, s)", r"onnxruntime says: .*Reshape"),
        ("y = ReduceSum(x)", r"output 'y' is \[1, 1\] at 1"),
    ],
)
def test_a_batch_that_the_graph_needs_fixed_is_not_freed(tmp_path, does, says):
    path = written(tmp_path, f"(float[2,4] x) => (float[?,?] y) <int64[2] s = {{4, 2}}> {{ {does} }}")
    with pytest.raises(CheckFailed, match=rf"does not allow batch, which the file fixes at 2, to be dynamic: .*{says}"):
        opened(path, tmp_path, inputs={"x": Input(["batch", 4])})


def test_a_size_that_the_file_fixes_is_no_other(tmp_path):
    path = make(tmp_path / "net.onnx")
    with pytest.raises(
        CheckFailed, match=r"dimension 1 of input 'input\.1' was asked for as 5, and the file fixes it at 4"
    ):
        opened(path, tmp_path, inputs={"input.1": Input(["batch", 5])})


def test_whole_numbers_are_drawn_as_the_graph_takes_them(tmp_path):
    graph = f"({IDS}) => (float[?,?,?] y) {TABLE} {{ i = Cast<to=6>(ids) y = Gather(w, i) }}"
    result = opened(written(tmp_path, graph), tmp_path, dims={"n": Dim(1, 2, 8), "k": Dim(4, 8, 16)})
    assert "ids in [0, 7): the 7 rows of w" in result.notes["says"]
    reference = record(result, tmp_path / "reference", inputs=None, effort="standard")
    drawn = np.concatenate([c.inputs["ids"].ravel() for c in reference_cases.read(reference)])
    assert set(drawn) == set(range(7))


def test_where_the_graph_does_not_say_that_is_told_with_what_to_type(tmp_path):
    path = written(tmp_path, f"({IDS}) => (float[?,?] y) {{ y = Cast<to=1>(ids) }}")
    result = opened(path, tmp_path, dims={"n": Dim(1, 2, 8), "k": Dim(4, 8, 16)})
    caution = record(result, tmp_path / "reference", inputs=None).notes["caution"]
    assert caution.startswith("zeros and ones are drawn for ids, the file says no range; ")
    inputs = pasted(caution.split("; ")[1].removesuffix(" does"))["inputs"]
    assert inputs["ids"] == Input(["n", "k"], "int64", {"integers": [0, 100]})
    assert "caution" not in record(result, tmp_path / "another", inputs=inputs, dims=None).notes


def test_outputs_cannot_be_renamed(tmp_path):
    result = opened(make(tmp_path / "net.onnx"), tmp_path)
    with pytest.raises(ConfigError, match=r"outputs is \['y'\]; the file's are out\.0"):
        record(result, tmp_path / "reference", inputs=None, outputs=["y"])


def test_integers_are_drawn_small_where_nothing_says_how(tmp_path):
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["ids"], ["y"], to=onnx.TensorProto.FLOAT)],
        "main",
        [info("ids", onnx.TensorProto.INT64, ["n", 8])],
        [info("y", onnx.TensorProto.FLOAT, ["n", 8])],
    )
    opsets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), tmp_path / "net.onnx")
    result = opened(tmp_path / "net.onnx", tmp_path, dims={"n": Dim(1, 2, 4)})
    case = next(reference_cases.read(record(result, tmp_path / "reference", inputs=None)))
    assert set(np.unique(case.inputs["ids"])) == {0, 1}


def test_a_dimension_that_no_input_follows_is_named(tmp_path):
    with pytest.raises(
        CheckFailed, match=r"dims\.batch was asked for, and no input of the file follows it: .*\[2, 4\]"
    ):
        opened(make(tmp_path / "net.onnx", batch=2), tmp_path)


def test_weights_beside_it_that_changed_after_the_plan_are_refused(tmp_path):
    path = make(tmp_path / "net.onnx", external="net.bin")
    stage = OpenOnnx(str(path), None, None, BATCH).settle(world(tmp_path))
    (tmp_path / "net.bin").write_bytes(bytes(48))
    with pytest.raises(StageError, match="changed since the plan was made"):
        run_stage(stage, {}, tmp_path / "opened")


def test_what_its_author_wrote_about_it_is_kept(tmp_path):
    path = make(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.metadata_props.add(key="names", value="cat,dog")
    onnx.save(model, path)
    metadata = onnx.load(opened(path, tmp_path).file).metadata_props
    assert {p.key: p.value for p in metadata}["names"] == "cat,dog"


def test_a_call_is_nothing_for_a_file(tmp_path):
    result = opened(make(tmp_path / "net.onnx"), tmp_path)
    with pytest.raises(ConfigError, match="call says how forward is called"):
        record(result, tmp_path / "reference", inputs=None, call={"args": ["x"]})


@pytest.mark.parametrize("stored", ["float16", "int8"])
def test_weights_that_a_file_has_in_fewer_bits_stay_and_pass_as_float32(tmp_path, stored):
    weight = onnx.numpy_helper.from_array(np.arange(-32, 32).reshape(8, 8).astype(stored), "w")
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["w"], ["wide"], to=1), onnx.helper.make_node("MatMul", ["x", "wide"], ["y"])],
        "main",
        [info("x", 1, [2, 8])],
        [info("y", 1, [2, 8])],
        [weight],
    )
    opsets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), tmp_path / "net.onnx")
    result = opened(tmp_path / "net.onnx", tmp_path, dims={})
    says = run_stage(Audit({"float32": 0.99}, {}, []), result, tmp_path / "audited").notes["says"]
    assert says == f"weights {stored} 100.0%; operations float32 100.0%; {stored} as in the file itself"
    with pytest.raises(CheckFailed, match="are bfloat16, at least 99% were asked for"):
        run_stage(Audit({"bfloat16": 0.99}, {}, []), result, tmp_path / "refused")
