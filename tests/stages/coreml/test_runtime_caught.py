"""The check catches faults in a saved Core ML package, without a Mac."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conversions import capture, coreml
from coreml_stages import check
from harness import BATCH, reference_in, run_stage, tolerance
from torch import nn

from pipeline.errors import CheckFailed
from stages.checking.check import Check
from stages.coreml import package as package_files
from stages.interface.interface import Input


class Heads(nn.Module):
    """Attention weights and features of the same shape, side by side: a wrong name or axis fits in shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.score, self.value = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = self.score(x).softmax(-1)
        return weights, torch.cat([weights[:, :3], self.value(x)[:, 3:]], 1)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Its package, with its reference."""
    folder = tmp_path_factory.mktemp("heads")
    inputs = {"x": Input(["batch", 6, 6], fill="normal")}
    traced = capture("trace", Heads(), folder, inputs=inputs, dims=BATCH, outputs=["weights", "mixed"])
    return coreml(traced, folder / "package"), reference_in(folder)


def operation(spec, kind):
    """The last operation of a type, and its block."""
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    return block, [op for op in block.operations if op.type == kind][-1]


def constant(spec, name):
    block, _ = operation(spec, "const")
    return next(op for op in block.operations if op.outputs and op.outputs[0].name == name).attributes["val"]


def turned(spec, kind):
    """Swaps the axis of the operation between the last and the one before it."""
    _, op = operation(spec, kind)
    axis = constant(spec, op.inputs["axis"].arguments[0].name).immediateValue.tensor.ints.values
    axis[0] = {-1: 1, 1: 2}[axis[0]]


def swapped(spec):
    """Swaps the names of the outputs in all places."""
    block, _ = operation(spec, "const")
    first, second = block.outputs
    text = spec.SerializeToString(deterministic=True)
    other = {first: second, second: first}
    for op in block.operations:
        for output in op.outputs:
            output.name = other.get(output.name, output.name)
        for bound in op.inputs.values():
            for argument in bound.arguments:
                if argument.name in other:
                    argument.name = other[argument.name]
    assert spec.SerializeToString(deterministic=True) != text


CHANGES = {
    "softmax along another axis": lambda spec: turned(spec, "softmax"),
    "outputs swapped": swapped,
}


def changed(package, folder, change):
    """A copy of a package with a changed model."""
    shutil.copytree(package.folder, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    copy = replace(package, folder=folder)
    spec = package_files.spec_of(copy.file)
    change(spec)
    (copy.file / package_files.MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    return copy


def test_a_package_that_nothing_was_done_to_agrees(heads, tmp_path):
    package, reference = heads
    check(changed(package, tmp_path / "same", lambda spec: None), reference, tmp_path, tolerance("fp32"))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_program_that_computes_something_else_is_caught(heads, tmp_path, change):
    package, reference = heads
    wrong = changed(package, tmp_path / "wrong", change)
    with pytest.raises(CheckFailed, match=r"does not agree with the PyTorch model\n.*output '(weights|mixed)'"):
        check(wrong, reference, tmp_path, tolerance("fp32"))


def test_outputs_joined_along_another_axis_are_caught(heads, tmp_path):
    package, reference = heads
    wrong = changed(package, tmp_path / "wrong", lambda spec: turned(spec, "concat"))
    with pytest.raises(CheckFailed, match=r"output 'mixed' has shape \(2, 3, 12\), the model's has \(2, 6, 6\)"):
        check(wrong, reference, tmp_path, tolerance("fp32"))


@pytest.mark.parametrize(("labels", "message"), [([1, 0, 2], "'classLabel_probs'"), ([0, 1, 0], "labels a, b\n")])
def test_scores_that_go_by_other_labels_than_the_models_are_caught(tmp_path, labels, message):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
    traced = capture("trace", net, tmp_path, inputs={"x": Input([1, 6], fill="normal")}, dims={}, outputs=["scores"])
    package = coreml(traced, tmp_path / "package", classifier=True, labels=["a", "b", "c"])
    check(package, reference_in(tmp_path), tmp_path, tolerance("fp32"))

    def relabel(spec):
        classes = operation(spec, "classify")[1].inputs["classes"].arguments[0].value
        strings = [v.immediateValue.tensor.strings.values for v in classes.immediateValue.list.values]
        for values, name in zip(strings, ["abc"[i] for i in labels], strict=True):
            values[:] = [name]

    with pytest.raises(CheckFailed, match=message):
        check(changed(package, tmp_path / "wrong", relabel), reference_in(tmp_path), tmp_path / "b", tolerance("fp32"))


class Nearest(nn.Module):
    """The nearest pixels, at positions far from the middle between two pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.linspace(-0.9, 0.7, 12).reshape(1, 2, 3, 2)
        return nn.functional.grid_sample(x, places, mode="nearest", align_corners=False)


def test_what_nothing_says_of_core_ml_is_told_as_not_checked(tmp_path):
    inputs = {"x": Input([1, 2, 6, 6], fill="normal")}
    package = coreml(capture("trace", Nearest(), tmp_path, inputs=inputs, dims={}), tmp_path / "package")
    stage = Check("float32", {}, [], tolerance("fp32"), False)
    notes = run_stage(stage, {"artifact": package, "reference": reference_in(tmp_path)}, tmp_path / "check").notes
    assert "NOT CHECKED: resample(sampling_mode=nearest), which of two equally near pixels" in notes["caution"]
    assert "resample(sampling_mode=nearest)" in notes["claims"]["parity"]["not_asked"]


def test_one_weight_of_38282_that_changed_is_caught(digits, tmp_path):
    package = digits.package()
    wrong = changed(package, tmp_path / "wrong", lambda spec: None)
    weights = wrong.file / package_files.BLOB
    numbers = np.fromfile(weights, np.float32)
    last = list(digits.module.live.parameters())[-2].flatten()
    (place,) = np.flatnonzero(numbers == last[last.abs().argmax()].item())
    numbers[place] *= 1.01
    numbers.tofile(weights)
    with pytest.raises(CheckFailed, match="output 'scores' max_rel"):
        check(wrong, digits.reference, tmp_path, tolerance("fp32"))


def test_float16_is_off_by_its_rounding_and_float32_is_not(digits, tmp_path):
    def worst(compute, limits):
        package = digits.package("iOS18", compute)
        parity = check(package, digits.reference, tmp_path / compute, tolerance(limits), compute=compute)
        assert parity["computes_in"] == compute
        return max(case["max_rel"] for case in parity["cases"])

    half, full = worst("float16", "fp16"), worst("float32", "fp32")
    assert full < 1e-5 < 1e-4 < half < 5e-3


def test_a_package_that_computes_in_another_type_than_it_should_is_caught(digits, tmp_path):
    with pytest.raises(CheckFailed, match="asked to compute in float32, the runtime computes in float16"):
        check(digits.package("iOS18", "float16"), digits.reference, tmp_path, tolerance("fp16"))
