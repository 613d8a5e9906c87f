"""stages/runtimes/: each kind is executed by its own runtime, in the precision that was asked for."""

from __future__ import annotations

import harness
import numpy as np
import pytest
from harness import backend, run_stage

from pipeline.artifact import Artifact, Kind
from stages import _reference
from stages.cast_fp16 import CastFp16
from stages.runtimes import session
from stages.runtimes.openvino import HINTS


@pytest.fixture(params=["graph", "ir"])
def artifact(request) -> Artifact:
    return request.getfixturevalue(request.param)


def test_outputs_come_by_name_and_agree_with_pytorch(artifact, reference):
    running = session.open_session(artifact, "float32")
    for case in _reference.read(reference):
        answers = running(case.inputs)
        assert list(answers) == ["logits"]
        np.testing.assert_allclose(
            answers["logits"], case.outputs["logits"], rtol=1e-4, atol=1e-6
        )  # float32 sums of 27


def test_inputs_are_left_as_they_were(artifact, reference):
    given = {n: v.copy() for n, v in next(_reference.read(reference)).inputs.items()}
    before = given["input"].copy()
    session.open_session(artifact, "float32")(given)
    np.testing.assert_array_equal(given["input"], before)


def test_the_answers_of_one_call_outlive_the_next(artifact, reference):
    running = session.open_session(artifact, "float32")
    example, smallest, *_ = _reference.read(reference)
    first = running(example.inputs)["logits"]
    before = first.copy()
    running({"input": example.inputs["input"][::-1].copy()})
    running(smallest.inputs)
    np.testing.assert_array_equal(first, before)


def test_float32_is_what_it_computes_in_when_asked(artifact):
    assert session.open_session(artifact, "float32").computes_in == "float32"


@pytest.mark.parametrize("compute", ["float16", "bfloat16"])
def test_onnxruntime_does_not_claim_a_precision_that_the_graph_has_not(graph, compute):
    assert session.open_session(graph, compute).computes_in == "float32"


@pytest.mark.parametrize("compute", HINTS)
def test_openvino_says_what_it_computes_in_rather_than_what_was_asked(ir, compute):
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    honoured = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}[compute] in capabilities
    assert (session.open_session(ir, compute).computes_in == compute) == honoured


def test_float16_weights_do_not_change_what_openvino_computes_in(graph, tmp_path):
    backend("openvino")
    half = harness.ir(graph, tmp_path / "half", storage="float16")
    assert session.open_session(half, "float32").computes_in == "float32"


def test_a_half_precision_graph_takes_and_gives_float32(graph, reference, tmp_path):
    half = run_stage(CastFp16([]), graph, tmp_path / "half")
    case = next(_reference.read(reference))
    assert session.open_session(half, "float32")(case.inputs)["logits"].dtype == np.float32


def test_a_shape_that_the_artifact_does_not_take_raises(artifact):
    with pytest.raises(Exception, match=r"(?i)shape|dimension"):
        session.open_session(artifact, "float32")({"input": np.zeros((2, 3, 16, 16), np.float32)})


@pytest.mark.parametrize("kind", session.RUNTIMES)
def test_each_runtime_names_what_it_needs(kind):
    assert {Kind.ONNX: "onnxruntime", Kind.OPENVINO: "openvino"}[kind] in session.modules(kind)


def test_every_deliverable_kind_can_be_executed():
    from stages.save import DELIVERABLE

    assert set(session.RUNTIMES) >= DELIVERABLE
