"""checking/benchmark.py: every figure of every contender is there, and what is wrong is said. No test knows a speed."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields, replace

import pytest
import torch
from conversions import export, ir
from harness import VECTOR, backend, module, record, run_stage, skip_unless_bfloat16, world
from nets import Chatty, Dies, FixedBatch, Unpicklable

from pipeline.artifact import Kind
from pipeline.errors import CheckFailed, StageError
from pipeline.notes import noise
from pipeline.store import key
from stages.checking.benchmark import Benchmark
from stages.checking.contest import Figures
from stages.coreml.format import COREML
from stages.formats.ignored import Ignored
from stages.onnx.cast_fp16 import CastFp16
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO

FIGURES = {f.name for f in fields(Figures)} | {"import_ms", "load_ms", "first_ms", "to_first_answer_ms"}
FIGURES |= {"peak_bytes", "disk_bytes", "computes_in", "properties"}


def benchmark(**settings):
    quick = {
        "case": "example",
        "compute": "float32",
        "properties": {},
        "extensions": [],
        "threads": 1,
        "rounds": 2,
        "seconds": 0.01,
    }
    quick |= {"warmup": 0, "against": [], "noisy_above": 0.1, "again": 0}
    return Benchmark(**{**quick, **settings})


def measured(artifact, reference, folder, *, net=None, **settings):
    inputs = {"artifact": artifact, "reference": reference} | ({"module": net} if net else {})
    return run_stage(benchmark(**settings), inputs, folder / "benchmark")


@pytest.fixture(scope="module")
def graph_of_vectors(tmp_path_factory):
    """A small graph with its reference beside it, for modules of the same interface to be measured against."""
    folder = tmp_path_factory.mktemp("vectors")
    return export("trace", Rows(), folder, inputs=VECTOR), record(Rows(), folder / "again", inputs=VECTOR)


class Rows(FixedBatch):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


@pytest.fixture(scope="module")
def against_pytorch(ir, reference, tiny, tmp_path_factory):
    """An IR beside eager PyTorch and torch.compile."""
    folder = tmp_path_factory.mktemp("beside")
    return measured(replace(ir, digest="d" * 64), reference, folder, net=tiny, against=["eager", "torch_compile"])


def test_the_artifact_goes_on_as_it_is(against_pytorch, ir):
    assert (against_pytorch.folder, against_pytorch.digest, against_pytorch.kind) == (
        ir.folder,
        "d" * 64,
        OPENVINO,
    )


def test_every_contender_has_every_figure(against_pytorch):
    contenders = against_pytorch.notes["benchmark"]["contenders"]
    assert list(contenders) == ["openvino", "eager", "torch_compile"]
    assert all(set(figures) == FIGURES for figures in contenders.values())


def test_the_figures_are_in_order_and_of_the_processes_that_were_asked_for(against_pytorch):
    for figures in against_pytorch.notes["benchmark"]["contenders"].values():
        assert 0 < figures["p50_ms"] <= figures["p90_ms"] <= figures["p99_ms"]
        assert len(figures["block_p50_ms"]) == 2 <= figures["inferences"]
        assert figures["to_first_answer_ms"] > figures["first_ms"] > 0
        assert figures["disk_bytes"] > 0
        assert figures["peak_bytes"] > 10 * 2**20


def test_peak_memory_is_each_contenders_own(against_pytorch):
    contenders = against_pytorch.notes["benchmark"]["contenders"]
    assert contenders["openvino"]["peak_bytes"] < contenders["eager"]["peak_bytes"]  # which has torch in memory


def test_threads_and_precision_are_read_back(against_pytorch):
    contenders = against_pytorch.notes["benchmark"]["contenders"]
    assert {n: f["computes_in"] for n, f in contenders.items()} == dict.fromkeys(contenders, "float32")
    assert contenders["openvino"]["properties"]["INFERENCE_NUM_THREADS"] == "1"
    assert contenders["openvino"]["properties"]["NUM_STREAMS"] == "1"
    assert contenders["eager"]["properties"] == {"num_threads": "1"}


def test_the_summary_has_a_line_for_each_and_says_what_was_run(against_pytorch):
    head, *rows = against_pytorch.notes["benchmark"]["table"]
    assert head == "input 2x3x32x32 (2 items), 1 thread, 2 rounds of 0.01 s in turn"
    assert [r.split()[0] for r in rows] == ["openvino", "eager", "torch_compile"]
    noisy = any(noise(against_pytorch.notes["benchmark"]["contenders"][n]) for n in ("openvino", "eager"))
    assert ("× the speed of eager PyTorch" in against_pytorch.notes["says"]) is not noisy


def test_an_onnx_graph_is_measured_without_openvino(graph, reference, tmp_path):
    notes = measured(graph, reference, tmp_path, case="max").notes["benchmark"]
    assert list(notes["contenders"]) == ["onnx"]
    assert notes["case"] == {"label": "max", "shapes": "input 8x3x32x32", "items": 8}


def test_noise_is_marked_and_not_hidden(graph, reference, tmp_path):
    noisy = measured(graph, reference, tmp_path, noisy_above=0.0)
    assert "; NOISY: onnx spread " in noisy.notes["says"]
    assert noisy.notes["benchmark"]["table"][1].endswith("NOISY")
    assert noisy.notes["benchmark"]["contenders"]["onnx"]["p50_ms"] > 0


def test_bfloat16_is_read_back_and_eager_says_that_it_computes_in_float32(ir, reference, tiny, tmp_path):
    skip_unless_bfloat16()
    notes = measured(ir, reference, tmp_path, net=tiny, compute="bfloat16", against=["eager"]).notes["benchmark"]
    assert {n: f["computes_in"] for n, f in notes["contenders"].items()} == {"openvino": "bfloat16", "eager": "float32"}


def test_a_precision_that_is_not_honoured_is_refused(graph, reference, tmp_path):
    with pytest.raises(CheckFailed, match="asked to compute in bfloat16, the runtime computes in float32"):
        measured(graph, reference, tmp_path, compute="bfloat16")


def test_properties_reach_the_artifact_and_are_read_back(ir, reference, tmp_path):
    backend("openvino")
    notes = measured(ir, reference, tmp_path, properties={"EXECUTION_MODE_HINT": "ACCURACY"}).notes["benchmark"]
    assert notes["contenders"]["openvino"]["properties"]["EXECUTION_MODE_HINT"] == "ACCURACY"


def test_a_property_that_the_runtime_does_not_have_is_refused(graph, reference, tmp_path):
    with pytest.raises(StageError, match=r"this onnx cannot be run: properties\.NO_SUCH: onnxruntime has no such"):
        measured(graph, reference, tmp_path, properties={"NO_SUCH": "1"})


def test_a_contender_that_dies_is_named_with_its_last_words(graph_of_vectors, tmp_path):
    graph, reference = graph_of_vectors
    with pytest.raises(StageError, match=r"'eager' died with 3: no more memory for the likes of you"):
        measured(graph, reference, tmp_path, net=module(Dies()), against=["eager"])


def test_what_a_model_prints_is_no_answer(graph_of_vectors, tmp_path):
    graph, reference = graph_of_vectors
    notes = measured(graph, reference, tmp_path, net=module(Chatty()), against=["eager"]).notes["benchmark"]
    assert notes["contenders"]["eager"]["inferences"] >= 2


def test_a_module_that_cannot_be_pickled_is_not_measured_and_that_is_said(graph_of_vectors, tmp_path):
    graph, reference = graph_of_vectors
    notes = measured(graph, reference, tmp_path, net=module(Unpicklable()), against=["eager"]).notes["benchmark"]
    assert list(notes["contenders"]) == ["onnx"]
    assert "cannot be pickled" in notes["not_measured"]["eager"]
    assert notes["table"][-1].startswith("eager         not measured: the module cannot be pickled")


@pytest.mark.slow  # another module is, before this
def test_a_torchscript_module_is_measured_too(graph_of_vectors, tmp_path):
    graph, reference = graph_of_vectors
    scripted = replace(module(Rows()), live=torch.jit.script(Rows().eval()))
    notes = measured(graph, reference, tmp_path, net=scripted, against=["eager"]).notes["benchmark"]
    assert list(notes["contenders"]) == ["onnx", "eager"]


def test_without_a_module_what_it_was_to_be_measured_against_is_said_to_be_missing(graph, reference, tmp_path):
    notes = measured(graph, reference, tmp_path, against=["eager"]).notes["benchmark"]
    assert "no PyTorch module" in notes["not_measured"]["eager"]


def test_a_case_that_the_reference_has_not_is_refused(graph_of_vectors, tmp_path):
    graph, _ = graph_of_vectors
    fixed = record(Rows(), tmp_path / "fixed", inputs={"input": replace(VECTOR["input"], shape=[2, 4])}, dims={})
    with pytest.raises(StageError, match="case is max") as caught:
        measured(graph, fixed, tmp_path, case="max")
    assert caught.value.problems[0].allowed == "example"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"compute": "fp32"}, "compute is fp32"),
        ({"against": ["eagre"]}, "against has eagre, did you mean 'eager'?"),
        ({"threads": 0}, "threads is 0"),
        ({"rounds": 1}, "rounds is 1"),
        ({"warmup": -1}, "warmup is -1"),
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"noisy_above": -0.1}, "noisy_above is -0.1"),
        ({"noisy_above": float("nan")}, "noisy_above is nan"),
        ({"again": -1}, "again is -1"),
    ],
)
def test_a_setting_out_of_range_is_a_problem_before_any_work(settings, says):
    (problem,) = benchmark(**settings).problems()
    assert problem.what == says
    assert problem.allowed


def test_no_number_of_threads_means_every_core(tmp_path):
    assert benchmark(threads=None).settle(world(tmp_path)).threads == world(tmp_path).cores()
    assert benchmark(threads=3).settle(world(tmp_path)).threads == 3


@dataclass
class Elsewhere:
    """Another machine, as far as a key asks."""

    instructions: str = "avx2"
    number: int = 8

    def processor(self):
        return {"architecture": "x86_64", "name": "some CPU", "instructions": self.instructions}

    def cores(self):
        return self.number


def test_it_is_measured_again_on_another_processor_and_when_asked_to():
    identities = [
        benchmark().identity(Elsewhere()),
        benchmark().identity(Elsewhere(instructions="avx512f")),
        benchmark().identity(Elsewhere(number=2)),
        benchmark(again=1).identity(Elsewhere()),
    ]
    assert len({key.canonical(identity) for identity in identities}) == 4
    assert asdict(benchmark()).items() <= identities[0].items()


def test_torch_compile_in_another_precision_is_not_measured_beside_it(graph, reference, tiny, tmp_path):
    backend("openvino")
    import openvino

    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes in float16")
    half = run_stage(CastFp16(Ignored([], [], []), []), graph, tmp_path / "half")
    result = measured(half, reference, tmp_path, net=tiny, compute="float16", against=["torch_compile"])
    assert result.notes["benchmark"]["not_measured"]["torch_compile"].startswith("asked to compute in float16, it comp")


@pytest.mark.parametrize(
    ("kinds", "against", "needed"),
    [
        ({"artifact": ONNX}, ["eager", "torch_compile"], {"onnxruntime"}),
        ({"artifact": OPENVINO, "module": Kind.MODULE}, ["eager"], {"openvino", "torch"}),
        ({"artifact": ONNX, "module": Kind.MODULE}, ["torch_compile"], {"onnxruntime", "openvino", "torch"}),
    ],
)
def test_it_requires_what_its_contenders_do(kinds, against, needed):
    assert {"onnxruntime", "openvino", "torch"} & {*benchmark(against=against).modules(kinds)} == needed


def test_a_case_that_there_is_not_is_told_with_the_nearest(graph, reference, tmp_path):
    with pytest.raises(StageError, match="none of that label that this onnx takes, did you mean 'example'"):
        measured(graph, reference, tmp_path, case="exmaple")


def test_an_artifact_whose_interface_was_edited_is_measured_at_the_first_case_that_it_takes(graph, reference, tmp_path):
    compiled = ir(graph, tmp_path / "ir", reshape={"input": [1, 3, 32, 32]}, names={"input": "image"})
    notes = measured(compiled, reference, tmp_path, case=None).notes["benchmark"]
    assert notes["case"]["label"] == "min"


@pytest.mark.parametrize(("platform", "lacks"), [("linux", ["its speed is not measured"]), ("darwin", [])])
def test_a_core_ml_package_is_measured_where_core_ml_is(monkeypatch, platform, lacks):
    monkeypatch.setattr(sys, "platform", platform)
    problems = benchmark().lacking({"artifact": COREML, "reference": Kind.REFERENCE})
    assert [p.what.rpartition("so ")[2] for p in problems] == lacks
    assert benchmark().lacking({"artifact": ONNX, "reference": Kind.REFERENCE}) == []
