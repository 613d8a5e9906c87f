"""onnx/exporting/translations.py, through both exporters and onnxruntime."""

from __future__ import annotations

import sys

import onnx
import onnx_ops
import pytest
import torch
from conversions import agrees
from conversions import capture as captured
from harness import VECTOR, reference_in, run_stage, world

from pipeline.errors import CheckFailed, ConfigError
from stages.onnx.export_onnx import ExportOnnx
from stages.onnx.export_torchscript import ExportTorchscript

OP = "drydock_test::scale_add"


def stage(capture, translations, opset=18):
    return (ExportOnnx if capture == "export" else ExportTorchscript)(opset, translations, False)


def export(net, capture, translations, folder, opset=18):
    """The graph, with its reference in `folder`/reference."""
    program = captured(capture, net, folder, inputs=VECTOR)
    inputs = program if capture == "export" else {"program": program, "reference": reference_in(folder)}
    return run_stage(stage(capture, translations, opset), inputs, folder / "graph")


@pytest.mark.parametrize(
    ("capture", "opset", "translations"),
    [
        ("export", 18, {OP: "onnx_ops.scripted"}),
        pytest.param("export", 21, {OP: "onnx_ops.plain"}, marks=pytest.mark.slow),
        ("export", 18, {f"{OP}.default": "onnx_ops.plain"}),
        ("trace", 9, {OP: "onnx_ops.symbolic"}),
        ("trace", 17, {OP: "onnx_ops.symbolic"}),
    ],
)
def test_a_custom_operator_is_translated_by_the_function_that_is_named(tmp_path, capture, opset, translations):
    graph = export(onnx_ops.ScaleAdd(), capture, translations, tmp_path, opset)
    agrees(graph, tmp_path)
    assert {n.domain for n in onnx.load(graph.file).graph.node} == {""}


class Scripted(onnx_ops.ScaleAdd):
    """Calls the operator by its name in TorchScript."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.drydock_test.scale_add(x, self.head(x), 3.0)


def test_a_custom_operator_in_a_script_is_translated_too(tmp_path):
    agrees(export(Scripted(), "script", {OP: "onnx_ops.symbolic"}, tmp_path), tmp_path)


def test_an_operator_of_torchs_own_is_overridden(tmp_path):
    graph = export(torch.nn.Softsign(), "export", {"aten::abs": "onnx_ops.absolute"}, tmp_path)
    assert [n.op_type for n in onnx.load(graph.file).graph.node][:2] == ["Neg", "Max"]
    agrees(graph, tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_a_symbolic_function_is_registered_for_one_export_alone(tmp_path, fails):
    net = onnx_ops.ScaleAdd(bessel=fails)
    with pytest.raises(Exception, match="bessel") if fails else pytest.MonkeyPatch.context():
        export(net, "trace", {OP: "onnx_ops.symbolic"}, tmp_path)
    with pytest.raises(Exception, match="has no translation to opset 18 of drydock_test::scale_add"):
        export(net, "trace", {}, tmp_path / "again")


@pytest.mark.parametrize(
    ("net", "capture", "translations"),
    [(onnx_ops.ScaleAdd, "trace", {OP: "onnx_ops.symbolic_left_custom"}), (onnx_ops.LeftCustom, "export", {})],
)
def test_a_node_that_stays_custom_fails_the_check_by_name(tmp_path, net, capture, translations):
    graph = export(net(), capture, translations, tmp_path)
    with pytest.raises(CheckFailed, match=r"onnxruntime cannot run drydock\.test::ScaleAdd \([12]×\)"):
        agrees(graph, tmp_path)


@pytest.mark.parametrize(
    ("capture", "translations", "what"),
    [
        ("export", {"my_ns": ":op: my_pkg.op"}, "'my_ns' is no operator's name"),  # what Hydra makes of bare colons
        ("trace", {"op": "a.b"}, "'op' is no operator's name"),
        ("trace", {f"{OP}.default": "a.b"}, "names an overload"),
        ("export", {OP: "translated"}, "'translated' is no dotted path"),
        ("trace", {OP: "a b.c"}, "'a b.c' is no dotted path"),
    ],
)
def test_names_that_cannot_be_are_problems_before_any_work(capture, translations, what):
    assert what in stage(capture, translations).problems()[0].what


@pytest.mark.parametrize("path", ["no_such_pkg.f", "onnx_ops.inner.f", "torch.no_such.f", "torch.onnx.no_such.f"])
def test_a_module_that_is_not_there_is_found_without_importing_any(tmp_path, path):
    with pytest.raises(ConfigError, match=r"there is no module '(no_such_pkg|onnx_ops\.inner|torch.*no_such)'"):
        stage("export", {OP: path}).settle(world(tmp_path))


def test_a_module_that_is_there_is_not_imported_by_a_plan(tmp_path):
    stage("export", {OP: "torch.utils.model_dump.f"}).settle(world(tmp_path))
    assert "torch.utils.model_dump" not in sys.modules


@pytest.mark.parametrize(
    ("capture", "translations", "says"),
    [
        ("export", {f"{OP}x": "onnx_ops.plain"}, f"no operator {OP}x, did you mean '{OP}'"),
        ("trace", {"nowhere::op": "onnx_ops.symbolic"}, "none is in 'nowhere'"),
        ("export", {f"{OP}.out": "onnx_ops.plain"}, f"{OP} has no overload 'out'"),
        ("export", {"aten::add": "onnx_ops.plain"}, "(?s)aten::add has no overload 'default'.*aten::add.Tensor"),
        ("export", {OP: "onnx_ops.scripte"}, "onnx_ops has no 'scripte' to call, did you mean 'scripted'"),
        ("export", {OP: "onnx_ops.unannotated"}, "does not annotate what it returns"),
        ("trace", {OP: "onnx_ops.scripted"}, "is an onnxscript function, for the dynamo exporter"),
    ],
)
def test_what_does_not_fit_is_a_config_error(tmp_path, capture, translations, says):
    with pytest.raises(ConfigError, match=says):
        export(onnx_ops.ScaleAdd(), capture, translations, tmp_path)


@pytest.mark.parametrize("capture", ["export", "trace"])
def test_the_code_of_a_translation_is_part_of_the_key(tmp_path, monkeypatch, capture):
    monkeypatch.syspath_prepend(tmp_path)
    keys = []
    for name, text in (("ops_a", "1"), ("ops_b", "2")):
        (tmp_path / f"{name}.py").write_text(f"def f(g): return {text}")
        keys.append(stage(capture, {OP: f"{name}.f"}).identity(world(tmp_path))["translations"][OP]["code"])
    assert keys[0]["source"] != keys[1]["source"]
