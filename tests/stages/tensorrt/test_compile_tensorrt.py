"""tensorrt/compile_tensorrt.py and its runtime, driven through the double of TensorRT: see tests/tensorrt_host.py.

The double's names and signatures are the genuine bindings' (tests/test_tensorrt_api.py); that engines are fast, or
right beyond what the graph says, is for a GPU to show (tests/gpu).
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
from dataclasses import replace
from types import SimpleNamespace

import harness
import numpy as np
import pytest
import torch
from harness import run_stage, tolerance
from tensorrt_host import H100, RTX3090, Host

from pipeline.errors import BackendMissing, CheckFailed, StageError
from pipeline.machine import gpu
from stages.checking.audit import Audit
from stages.checking.check import Check
from stages.formats import session
from stages.onnx.cast_fp16 import CastFp16
from stages.reference import cases as reference_cases
from stages.tensorrt import compile_tensorrt
from stages.tensorrt.format import TENSORRT
from stages.tensorrt.host import card as engine_card
from stages.tensorrt.host.card import Host as Place
from stages.tensorrt.host.card import computes_in, layer_types

CHECK = Check("float32", {}, [], tolerance("fp32"), False)


@pytest.fixture
def host(tmp_path, monkeypatch):
    yield Host(tmp_path, monkeypatch)
    gpu.describe.cache_clear()


@pytest.fixture
def built(host, graph, tmp_path):
    """Builds the tiny model's engine with some settings."""

    numbers = itertools.count()

    def build(**settings):
        stage = host.stage(**settings)
        return run_stage(stage, replace(graph, digest="d" * 64), tmp_path / f"engine{next(numbers)}")

    return build


def engine(artifact):
    return json.loads(artifact.file.read_bytes())


def card(artifact):
    return json.loads(artifact.file.with_suffix(".json").read_text())


def cases(reference):
    return {c.label: c for c in reference_cases.read(reference)}


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_an_engine_agrees_with_the_module_and_says_where_it_runs(host, built, reference, tmp_path, version):
    host.has(version)
    artifact = built()
    assert artifact.kind == TENSORRT
    assert {f.name for f in artifact.folder.iterdir()} == {"model.engine", "model.json"}
    assert {flags for (flags,) in host.calls("Builder.create_network")} == {1}  # strongly typed
    assert engine(artifact)["name"] == "drydock-" + "d" * 16
    built_on = card(artifact)["host"]
    assert (built_on["tensorrt"], built_on["gpu"], built_on["compute_capability"]) == (
        version,
        "NVIDIA H100 80GB HBM3",
        "9.0",
    )
    assert f"TensorRT {version} exactly; compute capability 9.0" in artifact.notes["says"]
    assert "timing" not in json.dumps(card(artifact)), "a folder of this machine"
    parity = run_stage(CHECK, {"artifact": artifact, "reference": reference}, tmp_path / "check").notes["parity"]
    assert parity["computes_in"] == "float32"
    assert max(case["max_rel"] for case in parity["cases"]) < 1e-5


def test_the_profile_is_the_models_dimensions(host, built):
    built()
    assert host.calls("IOptimizationProfile.set_shape") == [("input", [1, 3, 32, 32], [2, 3, 32, 32], [8, 3, 32, 32])]


def test_of_several_profiles_the_first_that_admits_the_sizes_is_used(host, built, reference):
    artifact = built(profiles=[{"batch": [1, 1, 2]}, {"batch": [3, 4, 8]}])
    running = session.open_session(artifact, "float32")
    for label, profile in (("min", 0), ("max", 1), ("example", 0)):
        case = cases(reference)[label]
        answer = running(case.inputs)
        assert np.allclose(answer["logits"], case.outputs["logits"], atol=1e-5)
        assert running._engine._context.active_optimization_profile == profile
    assert [p for p, _ in host.calls("IExecutionContext.set_optimization_profile_async")] == [1, 0]
    beyond = {"input": np.zeros((9, 3, 32, 32), "float32")}
    with pytest.raises(StageError, match=r"no profile of the engine accepts input \[9, 3, 32, 32\]") as caught:
        running(beyond)
    assert "[1, 3, 32, 32] to [2, 3, 32, 32] or [3, 3, 32, 32] to [8, 3, 32, 32]" in caught.value.problems[0].allowed


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({}, []),
        ({"tf32": True}, ["TF32"]),
        ({"version_compatible": True}, ["VERSION_COMPATIBLE"]),
        ({"version_compatible": True, "lean_runtime": False}, ["EXCLUDE_LEAN_RUNTIME", "VERSION_COMPATIBLE"]),
        ({"strip_weights": True}, ["REFIT_IDENTICAL", "STRIP_PLAN"]),
        ({"weight_streaming": True}, ["WEIGHT_STREAMING"]),
    ],
)
def test_each_flag_is_set_where_it_is_asked_for_and_nowhere_else(built, reference, tmp_path, settings, flags):
    """TF32 is on by default in TensorRT, so it has to be cleared. Each such engine loads, and agrees."""
    artifact = built(**settings)
    assert engine(artifact)["flags"] == flags
    run_stage(CHECK, {"artifact": artifact, "reference": reference}, tmp_path / "check")


def test_the_other_settings_reach_the_builder(host, built):
    artifact = built(workspace_mib=64, optimization_level=5, hardware_compatibility="ampere_plus", verbosity="none")
    assert host.calls("IBuilderConfig.set_memory_pool_limit") == [(host.tensorrt.MemoryPoolType.WORKSPACE, 64 * 2**20)]
    written = engine(artifact)
    assert (written["level"], written["verbosity"]) == (1, 2)
    assert "compute capability 8.0 or later" in artifact.notes["says"]
    running = session.open_session(artifact, "float32")
    assert (running._engine.layers, running.computes_in) == ({}, "float32"), "told by the network, which is typed"


SETS = [["NonMaxSuppression", "nms", "no such plugin"], ["Sin", "wave", "double is not taken"]]
WRONG = [
    ({"parse": SETS}, StageError, r"parser takes \d+ of \d+ nodes:\n    NonMaxSuppression 'nms'"),
    ({"parse": SETS}, StageError, r"Sin 'wave' \(node 3\): double is not taken \[UNSUPPORTED_NODE\]"),
    ({"parse late": SETS}, StageError, "cannot parse model.onnx:\n    NonMaxSuppression 'nms'"),
    ({"build": "fails"}, StageError, "could not build the engine\n    Could not find any implementation for node"),
    ({"profile": "refused"}, StageError, "profile 0 is not one that TensorRT takes"),
    ({"ignores": "WEIGHT_STREAMING"}, CheckFailed, "WEIGHT_STREAMING was set to True, TensorRT has it otherwise"),
    ({"init": "no GPU"}, BackendMissing, "cannot build here\n    CUDA initialization failure with error: 35"),
    ({"deserialize": "fails"}, StageError, "does not take the engine\n    IRuntime::deserializeCudaEngine"),
    ({"shape_tensors": ["input"]}, StageError, "the values of 'input' decide shapes, and no setting gives them"),
]


@pytest.mark.parametrize(("acts", "kind", "says"), WRONG)
def test_what_goes_wrong_is_told_with_what_tensorrt_says(host, built, acts, kind, says):
    host.has(**acts)
    with pytest.raises(kind, match=says):
        built(weight_streaming=True)


@pytest.mark.parametrize(
    ("acts", "says"),
    [
        ({"context": "fails"}, "cannot be made ready to run"),
        ({"execute": "fails"}, "TensorRT refuses the inference"),
        ({"sizes": "unknown"}, "the size of the output 'logits' depends on values"),
    ],
)
def test_what_goes_wrong_while_it_runs_is_told_too(host, built, reference, acts, says):
    artifact = built()
    host.has(**acts)
    with pytest.raises(StageError, match=says):
        session.open_session(artifact, "float32")(cases(reference)["example"].inputs)


def test_an_inference_that_fails_while_it_is_timed_is_told_too(host, built, reference):
    host.has(execute="fails")
    infer = session.open_session(built(), "float32").prepare(cases(reference)["example"].inputs)
    with pytest.raises(StageError, match="TensorRT refuses the inference"):
        infer()


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"other": np.zeros((2, 3, 32, 32), "float32")}, "the inputs are other"),
        ({"input": np.zeros((2, 3, 32, 32), "float64")}, "the input 'input' is float64"),
    ],
)
def test_inputs_that_the_engine_does_not_have_are_refused(host, built, inputs, says):
    running = session.open_session(built(), "float32")
    with pytest.raises(StageError, match=says):
        running(inputs)


def test_a_precision_that_no_layer_has_is_refused_before_the_build(host, built):
    """TensorRT never lowers the precision: the result would be an engine in float32 under another name."""
    with pytest.raises(CheckFailed, match="asked for float16, and no layer of the network has it: float32"):
        built(types=["float16"])
    assert host.calls("Builder.build_serialized_network") == []


def test_what_was_built_is_held_to_the_precision_that_was_asked_for(host, graph, tmp_path):
    half = run_stage(CastFp16(harness.NOTHING_IGNORED, []), graph, tmp_path / "half")
    audit = Audit({}, {"float16": 0.5}, [])
    artifact = run_stage(host.stage(types=["float16"]), half, tmp_path / "engine")
    assert "float16" in run_stage(audit, artifact, tmp_path / "audit").notes["says"]
    assert session.open_session(artifact, "float16").computes_in == "float16"
    host.has(layers="Float")  # as if each layer had been built in float32
    artifact = run_stage(host.stage(types=["float16"]), half, tmp_path / "other")
    with pytest.raises(CheckFailed, match=r"0\.0% of its operations are float16, at least 50% were asked for"):
        run_stage(audit, artifact, tmp_path / "audit2")
    assert session.open_session(artifact, "float16").computes_in == "float32"


def test_values_that_shapes_are_made_of_are_given_on_the_host(host, built):
    host.has(shape_tensors=["input"])
    artifact = built(shape_values={"input": [[1], [2], [8]]})
    assert host.calls("IOptimizationProfile.set_shape_input") == [("input", [1], [2], [8])]
    assert engine(artifact)["ports"]["input"][3]


def test_weights_that_were_stripped_come_from_the_graph_beside_the_engine(host, built, reference):
    artifact = built(strip_weights=True)
    assert (artifact.folder / "model.onnx").is_file()
    case = cases(reference)["example"]
    assert np.allclose(
        session.open_session(artifact, "float32")(case.inputs)["logits"], case.outputs["logits"], atol=1e-5
    )
    host.has(refit="fails")
    with pytest.raises(StageError, match="do not fit the engine: its weights have another shape"):
        session.open_session(artifact, "float32")
    artifact.folder.chmod(0o755)
    (artifact.folder / "model.onnx").unlink()
    with pytest.raises(CheckFailed, match=r"weights come from model\.onnx, which is missing"):
        session.open_session(artifact, "float32")


class Pinned:
    """The memory functions of torch with CUDA: calls go to the real torch, on the CPU."""

    def __init__(self, properties, waited):
        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            get_device_properties=lambda device: properties,
            Stream=lambda: SimpleNamespace(cuda_stream=7, synchronize=lambda: waited.append(7)),
        )

    def __getattr__(self, name):
        return getattr(torch, name)

    def from_numpy(self, array):
        tensor = torch.from_numpy(array)
        return SimpleNamespace(to=lambda device: tensor.clone() if device == "cuda" else None)

    def empty(self, shape, dtype, device):
        assert device == "cuda"
        return torch.empty(shape, dtype=dtype)


def test_memory_and_stream_are_pytorchs_where_it_has_cuda(host, built, reference, monkeypatch):
    artifact, waited = built(), []
    host.has(gpu_=RTX3090)  # which nothing asks then
    properties = SimpleNamespace(name="NVIDIA H100 80GB HBM3", major=9, minor=0)
    monkeypatch.setitem(sys.modules, "torch", Pinned(properties, waited))
    running = session.open_session(artifact, "float32")
    case = cases(reference)["max"]
    assert np.allclose(running(case.inputs)["logits"], case.outputs["logits"], atol=1e-5)
    assert waited, "the stream, before what it computed was read"
    running.prepare(case.inputs)()
    assert {stream for (stream,) in host.calls("IExecutionContext.execute_async_v3")} == {7}


ELSEWHERE = [
    ({}, {"gpu_": RTX3090}, "sm_86"),
    ({}, {"version": "11.4.1.2"}, "TensorRT 11.4.1.2 on sm_90"),
    ({"version_compatible": True}, {"version": "11.3.0.1"}, "TensorRT 11.3.0.1"),
    ({"version_compatible": True}, {"gpu_": RTX3090}, "sm_86"),
    ({"hardware_compatibility": "same_compute_capability"}, {"gpu_": RTX3090}, "sm_86"),
    ({"hardware_compatibility": "ampere_plus"}, {"gpu_": "NVIDIA T4,7.5,580.1"}, "sm_75"),
]


@pytest.mark.parametrize(("settings", "there", "says"), ELSEWHERE)
def test_an_engine_for_another_host_is_refused_by_its_card(host, built, settings, there, says):
    artifact = built(**settings)
    host.has(**there)
    with pytest.raises(BackendMissing, match=rf"built with TensorRT 11\.4\.0\.106 on sm_90 .*, this host has .*{says}"):
        session.open_session(artifact, "float32")
    assert host.calls("Runtime.deserialize_cuda_engine") == [], "TensorRT would answer by an assertion"


@pytest.mark.parametrize(
    ("settings", "there"),
    [
        ({"version_compatible": True}, {"version": "11.5.0.1"}),
        ({"hardware_compatibility": "ampere_plus"}, {"gpu_": RTX3090}),
        ({"hardware_compatibility": "same_compute_capability"}, {"gpu_": "NVIDIA H200,9.0,580.65.06"}),
    ],
)
def test_an_engine_that_was_made_to_travel_runs_there(host, built, reference, settings, there):
    artifact = built(**settings)
    host.has(**there)
    session.open_session(artifact, "float32")(cases(reference)["odd"].inputs)


def test_an_engine_with_another_ones_card_is_refused(built):
    artifact = built()
    artifact.file.chmod(0o644)
    artifact.file.write_bytes(artifact.file.read_bytes() + b" ")
    with pytest.raises(CheckFailed, match=r"model\.engine is not the engine of its card"):
        session.open_session(artifact, "float32")


def test_a_card_that_lacks_something_is_told_with_what(built):
    artifact = built()
    path = artifact.file.with_suffix(".json")
    path.chmod(0o644)
    path.write_text(json.dumps({n: v for n, v in card(artifact).items() if n != "layers"}))
    with pytest.raises(StageError, match=r"model\.json .* does not say where it runs: it has no layers"):
        session.open_session(artifact, "float32")


def test_what_builds_measure_is_kept_for_the_gpu_and_the_version_and_added_to(host, built, tmp_path, monkeypatch):
    built()
    (timing,) = (tmp_path / "timing").glob("*.timing")
    assert all(word in timing.name for word in ("H100", "sm9.0", "11.4.0.106"))
    first = json.loads(timing.read_text())
    genuine = host.tensorrt.Builder.build_serialized_network

    def meanwhile(self, network, config):
        timing.write_text(json.dumps({**first, "another": "build"}))
        return genuine(self, network, config)

    monkeypatch.setattr(host.tensorrt.Builder, "build_serialized_network", meanwhile)
    built()
    assert json.loads(timing.read_text()) == {**first, "another": "build"}
    assert host.calls("ITimingCache.combine"), "what another build had written meanwhile"
    host.has(gpu_=RTX3090)
    built()
    assert len(list((tmp_path / "timing").glob("*.timing"))) == 2


@pytest.mark.parametrize("content", [b"no cache", b'{"device": "another"}'])
def test_a_timing_cache_that_tensorrt_does_not_take_begins_anew(built, tmp_path, caplog, content):
    built()
    (timing,) = (tmp_path / "timing").glob("*.timing")
    timing.write_bytes(content)
    with caplog.at_level(logging.INFO):
        built()
    assert "the timing cache starts empty" in caplog.text
    assert "another" not in timing.read_text()


def test_a_timing_cache_that_is_damaged_during_a_build_is_replaced_and_the_engine_stands(host, built, tmp_path):
    built()
    (timing,) = (tmp_path / "timing").glob("*.timing")
    first, genuine = timing.read_text(), host.tensorrt.Builder.build_serialized_network

    def meanwhile(self, network, config):
        timing.write_bytes(b"no cache")
        return genuine(self, network, config)

    host.tensorrt.Builder.build_serialized_network = meanwhile
    built()
    assert timing.read_text() == first


def test_its_progress_and_tensorrts_warnings_are_told(built, caplog):
    with caplog.at_level(logging.INFO):
        built()
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("stages")]
    assert lines[:3] == ["TensorRT: half of this is slow", "Building Engine: 8 steps", "Building Engine: 2 of 8"]


def test_the_gpu_its_driver_and_the_settings_make_the_key_and_earlier_builds_do_not(host, tmp_path):
    world = harness.world(tmp_path)
    identity = host.stage().identity(world)
    name, capability, driver = H100.split(",")
    assert identity["gpu"] == {"name": name, "driver": driver, "compute_capability": capability}
    assert identity == host.stage(timing_cache="/elsewhere").identity(world)
    assert identity != host.stage(tf32=True).identity(world)
    assert host.stage(timing_cache="/elsewhere").files() == {"/elsewhere"}


@pytest.mark.parametrize(
    ("store", "cache", "folder"), [("/s", "/c", "/s/tensorrt"), (None, "/c", "/c/drydock/tensorrt")]
)
def test_unless_a_folder_is_named_what_builds_measure_is_kept_where_the_store_is(monkeypatch, store, cache, folder):
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("DRYDOCK_STORE", store) if store else monkeypatch.delenv("DRYDOCK_STORE", raising=False)
    assert str(compile_tensorrt._beside_the_store()) == folder


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"types": ["half"]}, "types has half"),
        ({"verbosity": "detail"}, "verbosity is detail, did you mean 'detailed'?"),
        ({"hardware_compatibility": "ampere"}, "hardware_compatibility is ampere"),
        ({"optimization_level": 6}, "optimization_level is 6"),
        ({"workspace_mib": 0}, "workspace_mib is 0"),
        ({"shape_values": {"size": [[1], [2]]}}, "shape_values has size: [[1], [2]]"),
        ({"shape_values": {"size": [1, 2, 8]}}, "shape_values has size: [1, 2, 8]"),
        ({"profiles": [{"batch": [4, 1, 8]}]}, "profiles has batch"),
    ],
)
def test_wrong_settings_are_problems_before_any_work(host, settings, says):
    (problem,) = host.stage(**settings).problems()
    assert problem.what.startswith(says)


@pytest.mark.parametrize(
    ("wording", "dtype"),
    [
        ("Half", "float16"),
        ("Channel major FP16 format where channel % 8 == 0", "float16"),
        ("Row major linear FP32", "float32"),
        ("Float", "float32"),
        ("BFloat16", "bfloat16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Int64", None),
    ],
)
def test_the_inspectors_names_of_types_are_known(wording, dtype):
    layer = {"Name": "a", "LayerType": "gemm", "Outputs": [{"Format/Datatype": wording}]}
    idle = {**layer, "LayerType": "Reformat"}
    assert layer_types(json.dumps({"Layers": [layer, idle]})) == ({dtype: 1} if dtype else {})


def test_an_engine_computes_in_the_floating_point_type_of_most_layers():
    assert computes_in({"int8": 9, "float16": 4, "float32": 3}) == "float16"
    assert computes_in({"int8": 9}) == "unknown"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\nGCC version: 12\n", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.71  Release Build\n", "595.71"),
        (None, "unknown"),
    ],
)
def test_the_drivers_version_is_what_its_kernel_module_says(host, tmp_path, monkeypatch, text, version):
    monkeypatch.setattr(engine_card, "DRIVER", tmp_path / "version")
    if text:
        (tmp_path / "version").write_text(text)
    assert Place.here("GPU", "9.0").driver == version
