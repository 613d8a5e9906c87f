"""formats/session.py: each kind runs in its own runtime, in the requested precision."""

from __future__ import annotations

import conversions
import numpy as np
import pytest
from harness import VECTOR, backend, module, record, run_stage, skip_unless_bfloat16
from nets import WritesIntoItsInput

from pipeline import formats
from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, StageError
from stages.checking.benchmark import AGAINST
from stages.formats import session
from stages.formats.ignored import Ignored
from stages.onnx.cast_fp16 import CastFp16
from stages.openvino.runtime import HINTS
from stages.reference import cases as reference_cases


@pytest.fixture(params=["graph", "ir", "tiny"])
def artifact(request, reference) -> Artifact:
    """One artifact of each kind that can be executed; a module by torch.compile."""
    if request.param == "tiny":
        backend("openvino")
    return session.with_interface(request.getfixturevalue(request.param), reference)


def test_outputs_come_by_name_and_agree_with_pytorch(artifact, reference):
    running = session.open_session(artifact, "float32")
    for case in reference_cases.read(reference):
        answers = running(case.inputs)
        assert list(answers) == ["logits"]
        np.testing.assert_allclose(
            answers["logits"], case.outputs["logits"], rtol=1e-4, atol=1e-6
        )  # float32 sums of 27


def test_inputs_are_left_as_they_were(artifact, reference):
    inputs = {n: v.copy() for n, v in next(reference_cases.read(reference)).inputs.items()}
    before = inputs["input"].copy()
    session.open_session(artifact, "float32")(inputs)
    np.testing.assert_array_equal(inputs["input"], before)


def test_the_answers_of_one_call_outlive_the_next(artifact, reference):
    running = session.open_session(artifact, "float32")
    example, smallest, *_ = reference_cases.read(reference)
    first = running(example.inputs)["logits"]
    before = first.copy()
    running({"input": example.inputs["input"][::-1].copy()})
    running(smallest.inputs)
    np.testing.assert_array_equal(first, before)


def example(reference):
    return next(reference_cases.read(reference)).inputs


def test_float32_is_what_it_computes_in_when_asked(artifact, reference):
    running = session.open_session(artifact, "float32")
    running(example(reference))
    assert running.computes_in == "float32"


def test_what_is_compiled_on_its_first_call_does_not_claim_a_precision_before(tiny, reference):
    backend("openvino")
    running = session.open_session(session.with_interface(tiny, reference), "float32")
    assert running.computes_in == "unknown"


@pytest.mark.parametrize("kind", ["ir", "tiny"])
def test_bfloat16_is_read_back_as_asked(request, reference, kind):
    skip_unless_bfloat16()
    artifact = session.with_interface(request.getfixturevalue(kind), reference)
    running = session.open_session(artifact, "bfloat16")
    running(example(reference))
    assert running.computes_in == "bfloat16"
    assert running.properties["INFERENCE_PRECISION_HINT"] == "bf16"


def test_a_prepared_inference_can_be_repeated_and_leaves_its_inputs_alone(artifact, reference):
    inputs = {n: v.copy() for n, v in example(reference).items()}
    infer = session.open_session(artifact, "float32", threads=1).prepare(inputs)
    infer()
    infer()
    np.testing.assert_array_equal(inputs["input"], example(reference)["input"])


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ("graph", "intra_op_num_threads"),
        ("ir", "INFERENCE_NUM_THREADS"),
        ("tiny", "INFERENCE_NUM_THREADS"),
    ],
)
def test_threads_are_pinned(request, reference, runtime, name):
    backend("openvino")
    artifact = session.with_interface(request.getfixturevalue(runtime), reference)
    running = session.open_session(artifact, "float32", threads=1)
    running(example(reference))
    assert running.properties[name] == "1"


@pytest.mark.parametrize(
    ("name", "value"), [("ENABLE_CPU_PINNING", "YES"), ("PERF_COUNT", "true"), ("NUM_STREAMS", "1")]
)
def test_a_property_of_openvino_is_set_and_read_back(ir, name, value):
    properties = session.open_session(ir, "float32", properties={name: value}).properties
    assert properties[name] == {"true": "YES"}.get(value, value)


def test_a_property_that_reads_back_otherwise_is_refused(ir):
    with pytest.raises(CheckFailed, match="NUM_STREAMS was asked for as 999, OpenVINO set it to"):
        session.open_session(ir, "float32", properties={"NUM_STREAMS": "999"})


@pytest.mark.parametrize("artifact", ["ir", "tiny"], indirect=True)
def test_an_unknown_property_is_refused_with_what_is_near(artifact):
    with pytest.raises(StageError, match="did you mean 'EXECUTION_MODE_HINT'"):
        session.open_session(artifact, "float32", properties={"EXECUTION_MODE": "ACCURACY"})


@pytest.mark.parametrize(
    ("name", "ours"), [("INFERENCE_PRECISION_HINT", "compute"), ("INFERENCE_NUM_THREADS", "threads")]
)
def test_a_property_that_a_setting_of_ours_decides_names_the_setting(ir, name, ours):
    with pytest.raises(StageError) as caught:
        session.open_session(ir, "float32", properties={name: "1"})
    assert f"stages.NAME.{ours}=" in caught.value.problems[0].command


def test_onnxruntime_has_no_properties(graph):
    with pytest.raises(StageError, match="onnxruntime has no such setting"):
        session.open_session(graph, "float32", properties={"EXECUTION_MODE_HINT": "ACCURACY"})


@pytest.mark.parametrize("runtime", AGAINST.values())
def test_a_module_that_writes_into_its_input_leaves_the_arrays_it_was_given(tmp_path, runtime):
    backend("openvino")
    net = module(WritesIntoItsInput())
    ready = session.with_interface(net, record(net, tmp_path / "reference", inputs=VECTOR))
    inputs = {"input": np.ones((2, 4), np.float32)}
    running = session.open_session(ready, "float32", by=runtime)
    running(inputs)
    running.prepare(inputs)()
    np.testing.assert_array_equal(inputs["input"], 1)


def test_eager_agrees_with_what_was_recorded_of_it(tiny, reference):
    running = session.open_session(session.with_interface(tiny, reference), "bfloat16", by=AGAINST["eager"])
    for case in reference_cases.read(reference):
        np.testing.assert_array_equal(running(case.inputs)["logits"], case.outputs["logits"])
    assert running.computes_in == "float32"  # whatever was asked


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
    half = conversions.ir(graph, tmp_path / "half", storage="float16")
    assert session.open_session(half, "float32").computes_in == "float32"


def test_a_half_precision_graph_takes_and_gives_float32(graph, reference, tmp_path):
    half = run_stage(CastFp16(Ignored([], [], []), []), graph, tmp_path / "half")
    case = next(reference_cases.read(reference))
    assert session.open_session(half, "float32")(case.inputs)["logits"].dtype == np.float32


@pytest.mark.parametrize("artifact", ["graph", "ir"], indirect=True)
def test_a_shape_that_the_artifact_does_not_take_raises(artifact):
    with pytest.raises(Exception, match=r"(?i)shape|dimension"):
        session.open_session(artifact, "float32")({"input": np.zeros((2, 3, 16, 16), np.float32)})


@pytest.mark.parametrize("kind", sorted(formats.kinds("runtime")))
def test_each_runtime_names_what_it_needs(kind):
    needed = {"onnx": {"onnxruntime"}, "module": {"torch", "openvino"}, "tensorrt": {"tensorrt", "torch"}}
    needed |= {"coreml": {"coremltools"}, "openvino": {"openvino"}}
    assert needed[kind.partition("_")[0]] <= {*session.modules(kind)}


def test_every_deliverable_kind_can_be_executed():
    from stages.delivery.save import DELIVERABLE

    assert formats.kinds("runtime") >= DELIVERABLE
