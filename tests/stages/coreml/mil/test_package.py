"""coreml/mil: the saved package is executed, and a damaged package is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import backend
from mil_packages import INPUT, Halves, converted, nested_blocks, quiet, saved, stateful, stored_weights, traced
from nets import TinyConv
from torch import nn

from pipeline.errors import CheckFailed, StageError
from stages.coreml.mil import evaluate, read

SPEC, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"
IMAGE = (1, 3, 8, 6)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    backend("coremltools")
    quiet()
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def halves(place) -> Path:
    torch.manual_seed(0)
    return traced(Halves(), place / "halves.mlpackage", (4, 6))


@pytest.fixture
def copied(halves, tmp_path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(halves, tmp_path / "copied.mlpackage")


def ran(path, **inputs):
    return evaluate.evaluate(read.read(path), inputs)


def refused(path, outcome=CheckFailed, **inputs):
    with pytest.raises(outcome) as caught:
        ran(path, **inputs)
    return str(caught.value)


def test_weights_are_read_in_every_way_that_they_are_stored(place):
    weights = stored_weights(place / "weights.mlpackage")
    answers = ran(place / "weights.mlpackage", x=INPUT)
    assert len(weights) == 11
    for name, weight in weights.items():
        np.testing.assert_allclose(answers[f"of_{name}"], weight * INPUT, 1e-6, 1e-5, err_msg=name)


@pytest.mark.parametrize(("way", "expected"), [(1, 33), (-1, 31)])
def test_nested_blocks_loop_and_branch(place, way, expected):
    path = place / "nested.mlpackage"
    answers = ran(path if path.exists() else nested_blocks(path), x=np.ones((2, 2), np.float32), way=np.float32([way]))
    np.testing.assert_array_equal(answers["y"], np.full((2, 2), expected))


def test_a_state_starts_as_zeros_in_every_call(place):
    program = read.read(stateful(place / "stateful.mlpackage"))
    for _ in range(2):
        answers = evaluate.evaluate(program, {"x": np.float32([1, 2, 3])})
        np.testing.assert_array_equal(answers["y"], [2, 4, 6])


def test_each_function_of_a_package_can_be_run_and_the_default_is_its_own(place, halves):
    ct = quiet()
    other = traced(Halves(2.0), place / "other.mlpackage", (4, 6))
    descriptor = ct.utils.MultiFunctionDescriptor()
    descriptor.add_function(str(halves), src_function_name="main", target_function_name="halves")
    descriptor.add_function(str(other), src_function_name="main", target_function_name="doubles")
    descriptor.default_function_name = "doubles"
    ct.utils.save_multifunction(descriptor, str(place / "both.mlpackage"))
    program = read.read(place / "both.mlpackage")
    default, by_name = (evaluate.evaluate(program, {"x0": INPUT}, f)["y"] for f in (None, "halves"))
    np.testing.assert_array_equal(default, ran(other, x0=INPUT)["y"])
    np.testing.assert_array_equal(by_name, ran(halves, x0=INPUT)["y"])
    assert not np.allclose(default, by_name)
    with pytest.raises(StageError, match="no function 'thirds'"):
        evaluate.evaluate(program, {"x0": INPUT}, "thirds")


@pytest.mark.parametrize(("color", "layout"), [("RGB", slice(None)), ("BGR", slice(None, None, -1))])
def test_an_image_is_taken_as_bytes_in_the_order_of_its_color_space(place, color, layout):
    ct = quiet()
    net = TinyConv().eval()
    image = ct.ImageType("x", shape=IMAGE, scale=1 / 255, bias=[-0.5, -0.4, -0.3], color_layout=color)
    module = torch.jit.trace(net, torch.rand(IMAGE))
    outputs = [ct.TensorType("y", dtype=np.float32)]
    path = saved(module, place / f"{color}.mlpackage", inputs=[image], outputs=outputs)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 6, 3), np.uint8)
    prepared = torch.tensor(pixels / 255 + [-0.5, -0.4, -0.3]).float().permute(0, 3, 1, 2)
    np.testing.assert_allclose(ran(path, x=pixels)["y"], net(prepared).detach(), 1e-4, 1e-5)
    assert "1x8x6x3" in refused(path, x=pixels[:, :4])
    assert "uint8" in refused(path, x=pixels.astype(np.float32))


def test_shapes_that_may_differ_are_held_to_their_range_or_their_list(place):
    ct = quiet()
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU()).eval()
    module = torch.jit.trace(net, torch.rand(1, 2, 8))
    free = ct.Shape((1, 2, ct.RangeDim(4, 16, 8)))
    listed = ct.EnumeratedShapes([(1, 2, 8), (1, 2, 12)])
    for shape, works, fails, allowed in ((free, 16, 17, "1x2x4..16"), (listed, 12, 13, "1x2x8 or 1x2x12")):
        path = place / f"{type(shape).__name__}.mlpackage"
        saved(module, path, inputs=[ct.TensorType("x", shape=shape)], outputs=[ct.TensorType("y")], opset="iOS15")
        x = np.random.default_rng(0).random((1, 2, works), np.float32)
        np.testing.assert_allclose(ran(path, x=x)["y"], net(torch.tensor(x)).detach(), 1e-5, 1e-6)
        message = refused(path, x=np.zeros((1, 2, fails), np.float32))
        assert f"1x2x{fails}" in message
        assert allowed in message


def test_inputs_are_those_of_the_description_in_its_types(halves):
    assert "float64" in refused(halves, x0=INPUT.astype(np.float64))
    assert "inputs x0" in refused(halves, x=INPUT)
    assert "inputs x0" in refused(halves)


def test_a_classifier_gives_its_label_and_a_dictionary_of_scores_as_a_device_does(place):
    ct = quiet()
    net = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
    labels = ["zebra", "ant", "cat"]
    path = traced(net, place / "labels.mlpackage", (1, 6), classifier_config=ct.ClassifierConfig(labels), outputs=None)
    program = read.read(path)
    label, chances = evaluate.evaluate(program, {"x0": INPUT[:1]}).values()
    expected = net(torch.tensor(INPUT[:1])).detach().numpy()[0]
    np.testing.assert_allclose([chances[label] for label in labels], expected, 1e-5, 1e-6)
    assert (str(label), program.functions["main"].labels) == (labels[expected.argmax()], labels)


COMPRESSED = {
    "int8": ("iOS16", "linear_quantize_weights", "OpLinearQuantizerConfig", {"weight_threshold": 1}),
    "int4 by blocks": (
        "iOS18",
        "linear_quantize_weights",
        "OpLinearQuantizerConfig",
        {"dtype": "int4", "granularity": "per_block", "block_size": 2, "weight_threshold": 1},
    ),
    "4 bits": (
        "iOS16",
        "palettize_weights",
        "OpPalettizerConfig",
        {"nbits": 4, "mode": "uniform", "weight_threshold": 1},
    ),
    "3 bits": (
        "iOS18",
        "palettize_weights",
        "OpPalettizerConfig",
        {"nbits": 3, "mode": "uniform", "weight_threshold": 1},
    ),
    "pruned": ("iOS16", "prune_weights", "OpMagnitudePrunerConfig", {"target_sparsity": 0.5, "weight_threshold": 1}),
    "pruned, by elements": (
        "iOS18",
        "prune_weights",
        "OpMagnitudePrunerConfig",
        {"target_sparsity": 0.5, "weight_threshold": 1},
    ),
}


@pytest.mark.parametrize("how", COMPRESSED)
def test_weights_that_coremltools_compressed_are_those_that_it_decompresses(place, how):
    quiet()
    from coremltools.optimize import coreml as optimize

    opset, function, config, settings = COMPRESSED[how]
    torch.manual_seed(0)
    model = converted(Halves(), (4, 6), opset=opset)
    settled = optimize.OptimizationConfig(global_config=getattr(optimize, config)(**settings))
    models = {"small": getattr(optimize, function)(model, settled)}
    models["large"] = optimize.decompress_weights(models["small"])
    for name, package in models.items():
        package.save(str(place / f"{how}_{name}.mlpackage"))
    programs = {name: read.read(place / f"{how}_{name}.mlpackage") for name in models}
    stored = {name: {o.type for o in p.functions["main"].block.walk()} for name, p in programs.items()}
    assert any(t.startswith("constexpr_") for t in stored["small"] - stored["large"])
    small, large = (evaluate.evaluate(p, {"x0": INPUT})["y"] for p in programs.values())
    np.testing.assert_allclose(small, large, 1e-6, 1e-6)
    exact = Halves()(torch.tensor(INPUT)).detach()
    assert not np.allclose(small, exact)


def test_float16_is_computed_with_its_rounding_and_told(place, halves):
    torch.manual_seed(0)
    lowered = traced(Halves(), place / "float16.mlpackage", (4, 6), precision="FLOAT16")
    assert [read.read(p).functions["main"].computes_in for p in (halves, lowered)] == ["float32", "float16"]
    exact, rounded = (ran(p, x0=INPUT)["y"] for p in (halves, lowered))
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16))
    assert 1e-6 < np.abs(rounded - exact).max() / np.abs(exact).max() < 2e-3


def test_one_weight_that_was_changed_gives_another_answer(halves, copied):
    with (copied / WEIGHTS).open("r+b") as f:
        f.seek(128)  # after the file's header and the record of the first array
        before = f.read(4)
        f.seek(128)
        f.write(np.float32(np.frombuffer(before, "<f4")[0] + 1).tobytes())
    assert not np.allclose(ran(copied, x0=INPUT)["y"], ran(halves, x0=INPUT)["y"])


def cut(path, size):
    (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:size])


def rename(path, to):
    manifest = json.loads((path / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = to
    (path / "Manifest.json").write_text(json.dumps(manifest))


def edit_spec(path, old, new):
    """Bytes of the spec, of the same length."""
    spec = (path / SPEC).read_bytes()
    assert old in spec
    assert len(old) == len(new)
    (path / SPEC).write_bytes(spec.replace(old, new))


DAMAGE = {
    "weights that end early": (lambda p: cut(p, 200), "ends at byte"),
    "weights that end before their record": (lambda p: cut(p, 100), "looks for an array at byte 64 of 100"),
    "weights that are empty": (lambda p: cut(p, 0), "not a weight file of version 2"),
    "no weights": (lambda p: (p / WEIGHTS).unlink(), "which is not there"),
    "no manifest": (lambda p: (p / "Manifest.json").unlink(), "does not name a model"),
    "a manifest that leaves the package": (lambda p: rename(p, "../../spec"), "outside of it"),
    "a manifest without its spec": (lambda p: rename(p, "elsewhere"), "which is not there"),
    "a spec cut short": (lambda p: (p / SPEC).write_bytes((p / SPEC).read_bytes()[:-9]), "cannot be read"),
    "weights outside": (
        lambda p: edit_spec(p, b"@model_path/weights/weight", b"@model_path/../../../weigh"),
        "outside",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_package_is_refused(copied, what):
    damage, message = DAMAGE[what]
    damage(copied)
    assert message in refused(copied, StageError, x0=INPUT)


def test_a_record_that_is_no_record_is_refused(copied):
    weights = bytearray((copied / WEIGHTS).read_bytes())
    weights[64] ^= 1
    (copied / WEIGHTS).write_bytes(weights)
    assert "no array at byte 64" in refused(copied, StageError, x0=INPUT)


def test_an_operation_that_is_lacking_is_told_before_anything_runs(copied):
    edit_spec(copied, b"linear", b"lineal")
    program = read.read(copied)
    assert evaluate.missing(program) == ("lineal",)
    with pytest.raises(CheckFailed, match="the evaluator lacks lineal"):
        evaluate.evaluate(program, {"x0": INPUT})


def test_a_parameter_that_is_lacking_is_told_too(copied):
    edit_spec(copied, b"\x06weight", b"\x06weighs")
    assert evaluate.missing(read.read(copied)) == ("linear(weighs)",)


def test_a_result_of_another_shape_than_the_program_says_is_refused(place):
    ct = quiet()
    path = traced(Halves(), place / "shaped.mlpackage", (4, 6))
    model = ct.utils.load_spec(str(path))
    block = model.mlProgram.functions["main"].block_specializations["CoreML8"]
    for operation in block.operations:
        if operation.type == "mul":
            operation.outputs[0].type.tensorType.dimensions[1].constant.size = 7
    (path / SPEC).write_bytes(model.SerializeToString())
    assert "results in 4x6, the program says 4x7" in refused(path, x0=INPUT)


class Lookup(nn.Module):
    """Looks up rows of a table, by numbers that are cast to indices."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 2)

    def forward(self, x):
        return self.table(x.long())


def test_an_index_without_a_place_is_told_with_what_is_allowed(place):
    path = traced(Lookup(), place / "table.mlpackage", (3,), opset="iOS15")
    assert ran(path, x0=np.float32([0, 4, -5]))["y"].shape == (3, 2)
    assert "an index is outside of a dimension of 5: 0..5" in refused(path, x0=np.float32([0, 5, 2]))


ORDERS = {
    "ours first": "from stages.coreml.mil import schema; ours = schema.model(); import coremltools",
    "coremltools first": "import coremltools; from stages.coreml.mil import schema; ours = schema.model()",
}
SAME = """
theirs = coremltools.proto.Model_pb2.Model
message = theirs(specificationVersion=9)
copy = ours.FromString(message.SerializeToString())
message.CopyFrom(copy)
assert (copy.specificationVersion, ours.DESCRIPTOR is theirs.DESCRIPTOR) == (9, True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_the_schema_is_shared_with_coremltools_whichever_comes_first(order):
    subprocess.run([sys.executable, "-c", ORDERS[order] + SAME], check=True, cwd=Path(__file__).parents[4])


def test_reading_and_evaluating_import_what_they_need_and_no_coremltools(place):
    path = place / "nested.mlpackage"
    nested = path if path.exists() else nested_blocks(path)
    code = (
        "import sys; from pathlib import Path; import numpy as np; from stages.coreml.mil import evaluate, read\n"
        "inputs = {'x': np.ones((2, 2), np.float32), 'way': np.ones(1, np.float32)}\n"
        f"evaluate.evaluate(read.read(Path({str(nested)!r})), inputs)\n"
        "assert not {'coremltools', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])
