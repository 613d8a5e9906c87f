"""capture/unsupported.py: what a person is told of a model that cannot be captured or exported."""

from __future__ import annotations

import re

import onnx_ops
import pytest
import torch
from conversions import capture as captured
from harness import BATCH, BATCH_SEQ, TOKENS, VECTOR, reference_in, run_stage
from nets import Attention
from torch import nn

from pipeline.errors import StageError
from stages.capture import unsupported
from stages.onnx.export_onnx import ExportOnnx
from stages.onnx.export_torchscript import ExportTorchscript

OP = "drydock_test::scale_add"


def refused(net, capture, opset, folder, *, translations=(), inputs=VECTOR, dims=BATCH):
    """The one problem that an export ends with."""
    program = captured(capture, net, folder, inputs=inputs, dims=dims)
    stage = (ExportOnnx if capture == "export" else ExportTorchscript)(opset, dict(translations), False)
    arguments = program if capture == "export" else {"program": program, "reference": reference_in(folder)}
    with pytest.raises(StageError) as caught:
        run_stage(stage, arguments, folder / "graph")
    (problem,) = caught.value.problems
    return problem


class Fft(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x).real


class Turned(nn.Module):
    """Complex numbers, and an operator of them that the exporter has for real ones alone."""

    def forward(self, x):
        z = torch.view_as_complex(x.reshape(-1, 2, 2))
        return torch.view_as_real(z[:, None] * z.cumsum(1)[:, :, None])


class Selected(nn.Module):
    def forward(self, x):
        return x + x.masked_select(x > 0).sum()


class Sampled(nn.Module):
    def forward(self, x):
        return nn.functional.grid_sample(x[:, None, None, :], torch.zeros(x.shape[0], 2, 2, 2), align_corners=True)


class Runs(nn.Module):
    def forward(self, x):
        return torch.unique_consecutive(x.long())  # dynamo's translation lacks a type


@pytest.mark.parametrize("capture", ["export", "trace"])
def test_every_operator_is_named_with_the_models_line_and_how_often(tmp_path, capture):
    lines = refused(onnx_ops.ScaleAdd(bessel=True), capture, 18, tmp_path).what.splitlines()
    assert re.fullmatch(
        rf"the \w+ exporter has no translation to opset 18 of {OP}, aten::special_bessel_j0.*", lines[0]
    )
    assert re.search(
        rf"{OP}, 2 calls: tests/onnx_ops\.py:\d+ in forward: y = scale_add\(x, self\.head\(x\), 3\.0\)", lines[1]
    )
    assert re.search(r"bessel_j0.*: tests/onnx_ops\.py:\d+ in forward: return torch\.special\.bessel_j0", lines[2])
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("net", "capture", "opset", "ways"),
    [
        (onnx_ops.ScaleAdd(), "export", 18, []),
        pytest.param(onnx_ops.ScaleAdd(), "trace", 12, [], marks=pytest.mark.slow),
        pytest.param(Fft(), "trace", 12, ["capture=export opset=18"], marks=pytest.mark.slow),
        (Sampled(), "trace", 15, ["opset=16", "capture=export opset=18"]),
        (Selected(), "export", 18, ["capture=trace"]),
        pytest.param(Turned(), "export", 18, [unsupported.BY_PAIRS], marks=pytest.mark.slow),
        (Turned(), "trace", 18, [unsupported.BY_PAIRS]),
    ],
)
def test_only_what_can_help_is_offered(tmp_path, net, capture, opset, ways):
    problem = refused(net, capture, opset, tmp_path)
    *offered, custom = problem.command.split(", or ")
    assert offered == ways
    assert re.fullmatch(r"'\+stages\.export\.translations=\{\w+\\:\\:\w+: my_pkg\.onnx_ops\.translation\}'", custom)


def test_the_lowest_opset_that_has_what_a_layer_of_torchs_own_lacks_is_told(tmp_path):
    problem = refused(Attention(), "trace", 12, tmp_path, inputs=TOKENS, dims=BATCH_SEQ)
    assert "aten::unflatten" in problem.what
    assert problem.command.startswith("opset=14, or capture=export opset=18")


def test_what_torch_lists_is_not_taken_for_missing_when_it_only_converts_numbers(tmp_path):
    """aten::Int and its like have no translation and need none."""
    assert "aten::Int" not in refused(Attention(), "trace", 12, tmp_path, inputs=TOKENS, dims=BATCH_SEQ).what


@pytest.mark.parametrize(
    ("net", "capture", "translations", "says"),
    [
        (
            Runs(),
            "export",
            {},
            r"Required attribute 'to'.*\n    at .*unique_consecutive.*: tests/.*:\d+ in",
        ),
        (
            onnx_ops.ScaleAdd(),
            "export",
            {OP: "onnx_ops.raises"},
            rf"Error: not today\n    at {OP}: tests/onnx_ops",
        ),
        (
            onnx_ops.ScaleAdd(),
            "trace",
            {OP: "onnx_ops.symbolic_raises"},
            r"not today\n    at tests/onnx_ops\.py:\d+ in ",
        ),
    ],
)
def test_another_failure_is_one_line_and_where(tmp_path, net, capture, translations, says):
    assert re.search(says, refused(net, capture, 18, tmp_path, translations=translations).what)


def test_nothing_of_what_torch_prints_reaches_the_screen(tmp_path, capfd):
    refused(onnx_ops.ScaleAdd(bessel=True), "trace", 12, tmp_path)
    refused(Runs(), "export", 18, tmp_path / "dynamo")
    out, err = capfd.readouterr()
    assert "graph(" not in out + err
    assert not re.search(r"^[WE]\d{4} ", err, re.MULTILINE)


def test_where_torch_is_not_as_we_know_it_its_exception_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(unsupported, "_at_hand", lambda _: (None, None))
    monkeypatch.setattr(unsupported, "_lacking_torchscript", lambda *_: [])
    assert f"opset 18 of {OP}\n" in refused(onnx_ops.ScaleAdd(), "export", 18, tmp_path).what
    assert f"opset 12 of {OP}\n" in refused(onnx_ops.ScaleAdd(), "trace", 12, tmp_path / "trace").what


def test_assertions_that_the_exporter_drops_are_not_taken_for_missing(tmp_path):
    assert "to opset 18 of aten::masked_select\n" in refused(Selected(), "export", 18, tmp_path).what


# ── captures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class ValueBranch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x  # here


class ShapeBranch(nn.Module):
    def forward(self, x):
        places = x.nonzero()
        return places if places.shape[0] > 3 else places + 1  # here


class ShapeDivision(nn.Module):
    def forward(self, x):
        places = x.nonzero()
        return places.reshape(-1, places.shape[0] // 2)  # here


class Item(nn.Module):
    def forward(self, x):
        return x[: int(x.sum().item())]  # here


class Numpy(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.numpy() + 1)  # here


class Autograd(nn.Module):
    def forward(self, x):
        return Doubled.apply(x)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x if x.sum() > 0 else x * 2  # here


class Sparse(nn.Module):
    def forward(self, x):
        return x.to_sparse().to_dense()  # here


class Refuses(nn.Module):
    def forward(self, x):
        assert x.shape[1] == 5, "five columns"  # here
        return x


class Fixed(nn.Module):
    def forward(self, x):
        return x + torch.ones(3, 4)


def of_capture(net):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (torch raises from many modules, some of them private)
        torch.export.export(net, (torch.randn(3, 4),), dynamic_shapes=({0: torch.export.Dim("b", min=2, max=8)},))
    return caught.value


@pytest.mark.parametrize(
    "net", [ValueBranch, ShapeBranch, ShapeDivision, Item, Numpy, Autograd, Sparse, Refuses], ids=lambda n: n.__name__
)
def test_the_models_line_is_dug_out_of_a_failed_capture(net):
    place = unsupported.source_of(of_capture(net()))
    assert re.fullmatch(r"tests/stages/capture/test_unsupported\.py:\d+ in forward: .*# here", place)


def test_the_models_line_is_read_from_the_message_where_the_stack_is_lost():
    error = of_capture(ValueBranch())
    assert unsupported.source_of(type(error)(error.cond, str(error))).endswith("# here")


def test_a_tracers_failure_has_its_line_too():
    with pytest.raises(AssertionError) as caught:
        torch.jit.trace(Refuses(), (torch.randn(3, 4),))
    assert unsupported.source_of(caught.value).endswith('"five columns"  # here')


def test_a_layer_of_torchs_own_is_named_where_there_is_no_other_code():
    with pytest.raises(RuntimeError) as caught:
        torch.export.export(nn.Linear(5, 5), (torch.randn(3, 4),))
    assert re.match(r"torch/nn/modules/linear\.py:\d+ in forward: ", unsupported.source_of(caught.value))


@pytest.mark.parametrize("error", [of_capture, lambda _: ValueError("no line"), lambda _: RuntimeError("")])
def test_nothing_is_made_up(error):
    assert unsupported.source_of(error(Fixed())) == ""
