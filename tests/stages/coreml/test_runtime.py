"""coreml/runtime.py: a Core ML package is checked like any other artifact, without Core ML."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conversions import capture
from harness import BATCH, IMAGE, backend, reference_in, run_stage, tolerance
from mil_packages import quiet, saved
from nets import TwoOutputs

from pipeline.artifact import Artifact
from pipeline.errors import CHECK_FAILED, CheckFailed, StageError
from stages.checking.check import Check
from stages.coreml.format import COREML
from stages.formats import session
from stages.reference import cases as reference_cases

WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
SPEC = "Data/com.apple.CoreML/model.mlmodel"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A function that converts a traced network with two outputs to a package, and the network's reference."""
    backend("coremltools")
    folder = tmp_path_factory.mktemp("coreml")
    torch.manual_seed(0)
    program = capture("trace", TwoOutputs(), folder, inputs=IMAGE, dims=BATCH, outputs=["logits", "features"])

    def package(precision="FLOAT32"):
        ct = quiet()
        home = folder / precision
        if not home.exists():
            home.mkdir()
            shape = ct.Shape((ct.RangeDim(1, 8, 2), 3, 32, 32))
            outputs = [ct.TensorType(n, dtype=np.float32) for n in ("logits", "features")]
            inputs = [ct.TensorType("input", shape=shape, dtype=np.float32)]
            net = torch.jit.load(program.file)
            saved(net, home / COREML.file, inputs=inputs, outputs=outputs, precision=precision)
        return Artifact(COREML, home, facts=program.facts)

    return package, reference_in(folder)


@pytest.fixture
def copied(network, tmp_path):
    """A package that may be changed, with the reference of its network."""
    package, reference = network
    artifact = package()
    return replace(artifact, folder=shutil.copytree(artifact.folder, tmp_path / "copied")), reference


def check(artifact, reference, folder, *, compute="float32", limits="fp32"):
    stage = Check(compute, {}, [], tolerance(limits), False)
    return run_stage(stage, {"artifact": artifact, "reference": reference}, folder / "check")


def refused(artifact, reference, folder, **settings):
    with pytest.raises(CheckFailed) as caught:
        check(artifact, reference, folder, **settings)
    assert caught.value.exit_code == CHECK_FAILED
    return str(caught.value)


def edited(artifact, change):
    """The package with a changed spec."""
    ct = quiet()
    spec = ct.utils.load_spec(str(artifact.file))
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    change(spec, {o.type: o for o in block.operations if o.type != "const"}, block)
    (artifact.file / SPEC).write_bytes(spec.SerializeToString())
    return artifact


def test_a_package_is_checked_at_every_shape(network, tmp_path):
    package, reference = network
    checked = check(package(), reference, tmp_path)
    parity = checked.notes["parity"]
    assert len(parity["cases"]) == len(list(reference_cases.read(reference))) == 4
    assert (parity["runtime"], parity["computes_in"]) == ("coreml", "float32")
    if sys.platform != "darwin":
        assert parity["properties"] == {"executed_by": "reference evaluator"}


@pytest.mark.slow  # test_compile_coreml, test_runtime_caught
def test_float16_is_further_off_and_within_its_own_tolerance(network, tmp_path):
    package, reference = network
    lowered = check(package("FLOAT16"), reference, tmp_path / "a", compute="float16", limits="fp16")
    exact = check(package(), reference, tmp_path / "b")
    worst = [max(c["max_rel"] for c in a.notes["parity"]["cases"]) for a in (exact, lowered)]
    assert worst[0] < 1e-5 < worst[1] < 1e-2
    message = refused(package("FLOAT16"), reference, tmp_path / "c", limits="fp16")
    assert "asked to compute in float32, the runtime computes in float16" in message


def test_one_changed_weight_is_caught(copied, tmp_path):
    artifact, reference = copied
    with (artifact.file / WEIGHTS).open("r+b") as f:
        f.seek(128)
        f.write(np.float32(3).tobytes())
    assert "does not agree with the PyTorch model" in refused(artifact, reference, tmp_path)


def test_outputs_that_were_swapped_are_caught(copied, tmp_path):
    artifact, reference = copied

    def swap(spec, operations, block):
        other = {"logits": "features", "features": "logits"}
        for operation in block.operations:
            bound = (b for argument in operation.inputs.values() for b in argument.arguments)
            for variable in (*operation.outputs, *bound):
                if variable.name in other:
                    variable.name = other[variable.name]

    assert "'logits'" in refused(edited(artifact, swap), reference, tmp_path)


def test_a_wrong_axis_is_caught(copied, tmp_path):
    artifact, reference = copied

    def turn(spec, operations, block):
        name = operations["reduce_mean"].inputs["axes"].arguments[0].name
        axes = next(o for o in block.operations if o.outputs[0].name == name)
        axes.attributes["val"].immediateValue.tensor.ints.values[:] = [1, 3]

    message = refused(edited(artifact, turn), reference, tmp_path)
    assert "linear" in message
    assert "cannot be computed" in message


def test_an_operation_that_the_evaluator_lacks_is_not_checked_and_never_passes(copied, tmp_path):
    artifact, reference = copied

    def rename(spec, operations, block):
        operations["relu"].type = "relu_of_tomorrow"

    message = refused(edited(artifact, rename), reference, tmp_path)
    if sys.platform != "darwin":
        assert "not checked: the evaluator lacks relu_of_tomorrow" in message
        assert "macOS" in message


def test_properties_and_extensions_are_refused(network):
    package, _ = network
    with pytest.raises(StageError, match="Core ML has no such setting"):
        session.open_session(package(), "float32", properties={"MLComputeUnits": "ALL"})
    with pytest.raises(StageError, match="Core ML takes none"):
        session.open_session(package(), "float32", extensions=["ov_ops.traced"])


@pytest.mark.skipif(sys.platform == "darwin", reason="there Core ML is measured")
def test_the_evaluators_speed_is_not_measured(network):
    package, reference = network
    running = session.open_session(package(), "float32")
    with pytest.raises(StageError, match="its speed is not measured"):
        running.prepare(next(reference_cases.read(reference)).inputs)


@pytest.mark.skipif(sys.platform != "darwin", reason="needs macOS, where Core ML is")
def test_core_ml_and_the_evaluator_agree(network):
    from stages.coreml.mil import read
    from stages.coreml.runtime import EvaluatorSession

    package, reference = network
    for case in reference_cases.read(reference):
        theirs = session.open_session(package(), "float32")(case.inputs)
        ours = EvaluatorSession(read.read(package().file))(case.inputs)
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], 1e-4, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least", "most"), [("FLOAT32", 0.0, 1e-5), ("FLOAT16", 1e-5, 1e-2)])
def test_resnet50_answers_as_pytorch_does(tmp_path, precision, least, most):
    backend("coremltools")
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.resnet50(weights=None).eval()
    x = torch.rand(1, 3, 224, 224)
    ct = quiet()
    inputs, outputs = [ct.TensorType("x", shape=x.shape, dtype=np.float32)], [ct.TensorType("y", dtype=np.float32)]
    home = tmp_path / COREML.file
    saved(torch.jit.trace(net, x), home, inputs=inputs, outputs=outputs, precision=precision)
    answer = session.open_session(Artifact(COREML, tmp_path), "float32")({"x": x.numpy()})["y"]
    expected = net(x).detach().numpy()
    assert least < np.abs(answer - expected).max() / np.abs(expected).max() < most
