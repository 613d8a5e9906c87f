"""openvino/library.py: a user's own operations, by path."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx
import onnx_ops
import pytest
import torch
from conversions import capture, ir
from harness import VECTOR, backend, module, record, reference_in, run_stage, tolerance, world
from torch import nn

from pipeline.errors import ConfigError, StageError
from stages.checking.check import Check
from stages.formats.extensions import Extensions
from stages.loading.open_file import OpenFile
from stages.openvino import library as openvino_library


@pytest.fixture(autouse=True)
def _openvino_is_there():
    backend("openvino")


class Once(nn.Module):
    """Calls a user's own operator."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return onnx_ops.scale_add(x, self.head(x), 3.0)


def check(artifact, folder, *, extensions=()):
    stage = Check("float32", {}, list(extensions), tolerance("fp32"), False)
    return run_stage(
        stage, {"artifact": artifact, "reference": reference_in(folder)}, folder / f"check{len(extensions)}"
    )


def test_without_a_rule_the_operator_is_named(tmp_path):
    with pytest.raises(StageError, match="no conversion rule for drydock_test::scale_add"):
        ir(capture("trace", Once(), tmp_path, inputs=VECTOR), tmp_path / "ir")


@pytest.mark.parametrize(("how", "rule"), [("trace", "ov_ops.traced"), ("export", "ov_ops.exported")])
def test_a_rule_by_its_dotted_path_converts_the_operator(tmp_path, how, rule):
    artifact = ir(capture(how, Once(), tmp_path, inputs=VECTOR), tmp_path / "ir", extensions=[rule])
    check(artifact, tmp_path)


def test_an_operation_of_ones_own_is_in_the_ir_and_runs_where_it_is_known(tmp_path):
    extensions = ["ov_ops.ScaleAdd", "ov_ops.kept"]
    artifact = ir(capture("trace", Once(), tmp_path, inputs=VECTOR), tmp_path / "ir", extensions=extensions)
    check(artifact, tmp_path, extensions=extensions)
    with pytest.raises(StageError, match="OpenVINO cannot load the model for CPU: Cannot create ScaleAdd layer"):
        check(artifact, tmp_path)


def test_a_genuine_library_is_loaded(tmp_path):
    backend("openvino_tokenizers")
    package = importlib.util.find_spec("openvino_tokenizers")
    (library,) = Path(package.origin).parent.glob("lib/*openvino_tokenizers*")
    artifact = ir(
        capture("trace", nn.Linear(4, 4), tmp_path, inputs=VECTOR), tmp_path / "ir", extensions=[str(library)]
    )
    check(artifact, tmp_path, extensions=[str(library)])


def test_a_library_that_is_none_is_refused_with_openvinos_reason(tmp_path):
    (tmp_path / "ops.so").write_text("no library")
    with pytest.raises(StageError, match=r"cannot load the extension .*ops\.so: .*Cannot find entry point"):
        openvino_library.core_with([str(tmp_path / "ops.so")])


def test_a_library_that_is_not_there_is_found_while_planning(tmp_path):
    with pytest.raises(ConfigError, match=r"extensions: .*ops\.so cannot be read"):
        Extensions().settle("extensions", [str(tmp_path / "ops.so")], world(tmp_path))


def test_a_library_counts_by_its_content_and_not_by_its_place(tmp_path):
    paths = [tmp_path / name for name in ("a.so", "b.so", "c.so")]
    for path, text in zip(paths, ("one", "one", "two"), strict=True):
        path.write_text(text)
    first, same, other = (Extensions().identity("extensions", [str(p)], world(tmp_path)) for p in paths)
    assert first == same != other


@pytest.mark.parametrize("entry", ["ops", "ops.", ""])
def test_what_is_neither_a_library_nor_a_dotted_path_is_a_problem(entry):
    (problem,) = Extensions().problems("extensions", [entry])
    assert problem.what == f"extensions names '{entry}'"


def test_a_dotted_path_that_cannot_be_imported_is_told():
    with pytest.raises(ConfigError, match=r"extensions names ov_ops\.missing, which cannot be imported"):
        openvino_library.load_extensions(["ov_ops.missing"])


def test_a_runtime_without_extensions_refuses_them(graph, reference, tmp_path):
    stage = Check("float32", {}, ["ov_ops.traced"], tolerance("fp32"), False)
    with pytest.raises(StageError, match="and onnxruntime takes none"):
        run_stage(stage, {"artifact": graph, "reference": reference}, tmp_path / "check")


def test_torch_compile_refuses_them_too(tmp_path):
    reference = record(Once(), tmp_path / "reference", inputs=VECTOR)
    stage = Check("float32", {}, ["ov_ops.traced"], tolerance("fp32"), False)
    with pytest.raises(StageError, match=r"and torch\.compile takes none"):
        run_stage(stage, {"artifact": module(Once()), "reference": reference}, tmp_path / "check")


def test_one_that_cannot_be_imported_is_no_failure_of_the_model(tmp_path):
    program = capture("trace", nn.Linear(4, 4), tmp_path, inputs=VECTOR)
    with pytest.raises(ConfigError, match=r"extensions names ov_ops\.missing"):
        ir(program, tmp_path / "ir", extensions=["ov_ops.missing"])


def test_a_module_that_raises_while_it_is_imported_is_told(tmp_path, monkeypatch):
    (tmp_path / "boom.py").write_text("raise RuntimeError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"extensions names boom\.rule, which cannot be imported: boom"):
        openvino_library.load_extensions(["boom.rule"])


def of_my_own(folder):
    """An ONNX file with an operator that no library has."""
    node = onnx.helper.make_node("MyRelu", ["x"], ["y"], name="first", domain="my")
    ports = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [2, 4]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    imports = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("my", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), folder / "mine.onnx")
    return folder / "mine.onnx"


def test_a_file_with_an_operator_of_ones_own_is_read_with_a_rule_for_it(tmp_path):
    stage = OpenFile(str(of_my_own(tmp_path)), None, {}, None, {}, ["ov_ops.relu"]).settle(world(tmp_path))
    graph = run_stage(stage, {}, tmp_path / "opened")
    assert read_ops(ir(graph, tmp_path / "ir", extensions=["ov_ops.relu"])) >= {"Relu"}


def read_ops(artifact):
    import openvino

    return {op.get_type_name() for op in openvino.Core().read_model(artifact.file).get_ops()}


def test_a_file_with_an_operator_of_nobodys_is_not_called_damaged(tmp_path):
    stage = OpenFile(str(of_my_own(tmp_path)), None, {}, None, {}, []).settle(world(tmp_path))
    with pytest.raises(StageError, match=r"no conversion rule for my\.MyRelu\n .*: node 'first' of the graph"):
        run_stage(stage, {}, tmp_path / "opened")


def test_what_is_neither_a_rule_nor_an_operation_is_refused():
    with pytest.raises(ConfigError, match=r"extensions names ov_ops\._scale_add, which is function"):
        openvino_library.load_extensions(["ov_ops._scale_add"])


def test_a_rule_without_its_operation_is_told_when_the_ir_is_read_back(tmp_path):
    program = capture("trace", Once(), tmp_path, inputs=VECTOR)
    with pytest.raises(StageError, match="cannot read the IR back: Cannot create ScaleAdd layer"):
        ir(program, tmp_path / "ir", extensions=["ov_ops.kept"])
