"""stages/_openvino.py: operations of a user's own, by path."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx_ops
import pytest
import torch
from harness import VECTOR, backend, capture, ir, reference_in, run_stage, tolerance, world
from torch import nn

from pipeline.errors import ConfigError, StageError
from stages import _openvino
from stages.check import Check


@pytest.fixture(autouse=True)
def _openvino_is_there():
    backend("openvino")


class Once(nn.Module):
    """Calls an operator of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return onnx_ops.scale_add(x, self.head(x), 3.0)


def check(made, folder, *, extensions=()):
    stage = Check("float32", {}, list(extensions), tolerance("fp32"))
    return run_stage(stage, {"artifact": made, "reference": reference_in(folder)}, folder / f"check{len(extensions)}")


def test_without_a_rule_the_operator_is_named(tmp_path):
    with pytest.raises(StageError, match="no conversion rule for drydock_test::scale_add"):
        ir(capture("trace", Once(), tmp_path, inputs=VECTOR), tmp_path / "ir")


@pytest.mark.parametrize(("how", "rule"), [("trace", "ov_ops.traced"), ("export", "ov_ops.exported")])
def test_a_rule_by_its_dotted_path_converts_the_operator(tmp_path, how, rule):
    made = ir(capture(how, Once(), tmp_path, inputs=VECTOR), tmp_path / "ir", extensions=[rule])
    check(made, tmp_path)


def test_an_operation_of_ones_own_is_in_the_ir_and_runs_where_it_is_known(tmp_path):
    known = ["ov_ops.ScaleAdd", "ov_ops.kept"]
    made = ir(capture("trace", Once(), tmp_path, inputs=VECTOR), tmp_path / "ir", extensions=known)
    check(made, tmp_path, extensions=known)
    with pytest.raises(RuntimeError, match="Cannot create ScaleAdd layer"):
        check(made, tmp_path)


def test_a_genuine_library_is_loaded(tmp_path):
    backend("openvino_tokenizers")
    found = importlib.util.find_spec("openvino_tokenizers")
    (library,) = Path(found.origin).parent.glob("lib/*openvino_tokenizers*")
    made = ir(capture("trace", nn.Linear(4, 4), tmp_path, inputs=VECTOR), tmp_path / "ir", extensions=[str(library)])
    check(made, tmp_path, extensions=[str(library)])


def test_a_library_that_is_none_is_refused_with_openvinos_reason(tmp_path):
    (tmp_path / "ops.so").write_text("no library")
    with pytest.raises(StageError, match=r"cannot load the extension .*ops\.so: .*Cannot find entry point"):
        _openvino.extended([str(tmp_path / "ops.so")])


def test_a_library_that_is_not_there_is_found_while_planning(tmp_path):
    with pytest.raises(ConfigError, match=r"extensions: .*ops\.so cannot be read"):
        _openvino.identity([str(tmp_path / "ops.so")], world(tmp_path))


def test_a_library_counts_by_its_content_and_not_by_its_place(tmp_path):
    paths = [tmp_path / name for name in ("a.so", "b.so", "c.so")]
    for path, text in zip(paths, ("one", "one", "two"), strict=True):
        path.write_text(text)
    first, same, other = (_openvino.identity([str(p)], world(tmp_path)) for p in paths)
    assert first == same != other


@pytest.mark.parametrize("named", ["ops", "ops.", ""])
def test_what_is_neither_a_library_nor_a_dotted_path_is_a_problem(named):
    (problem,) = _openvino.problems([named])
    assert problem.what == f"extensions names '{named}'"


def test_a_dotted_path_that_cannot_be_imported_is_told():
    with pytest.raises(ConfigError, match=r"extensions names ov_ops\.missing, which cannot be imported"):
        _openvino.loaded(["ov_ops.missing"])


def test_a_runtime_without_extensions_refuses_them(graph, reference, tmp_path):
    stage = Check("float32", {}, ["ov_ops.traced"], tolerance("fp32"))
    with pytest.raises(StageError, match="and onnxruntime takes none"):
        run_stage(stage, {"artifact": graph, "reference": reference}, tmp_path / "check")
