"""conf/: every shipped choice composes, builds and holds together, and what is not in it is refused."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    OmegaConfBaseException,
    ValidationError,
)

from pipeline.artifact import Kind
from pipeline.config.compose import CONF
from pipeline.config.instantiate import build_stage
from pipeline.errors import ConfigError
from pipeline.planning import graph
from pipeline.planning.graph import Node
from stages.onnx import translations
from stages.tensorrt.settings import EngineSettings


def options(group: str) -> list[str]:
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


MODELS, TARGETS, ROUTES, PRECISIONS = map(options, ("model", "target", "route", "precision"))
CAPTURES = [c for c in options("capture") if c != "none"]
# A graph that is given as a file is not captured.
FILES = ("onnx_file", "file")
CAPTURED_BY = {model: [None] if model in FILES else CAPTURES for model in MODELS}
# The routes that a target may be asked for by: onnx has one, and openvino_onnx says its own.
ROUTED_BY = {target: ROUTES if target == "openvino" else [target.rpartition("_")[2]] for target in TARGETS}
# Those that lower what was compiled, and not the graph before.
OF_COMPILERS = ("openvino", "openvino_direct", "coreml")
OF_TENSORRT = ("tensorrt", "tensorrt_bundle")
ROUTED_BY |= {"coreml": ["direct"], **{target: ["onnx"] for target in OF_TENSORRT}}
# What a target makes of each precision it can honour: a file for each. TensorRT has no weights of fewer bits than their
# operations compute in.
LOWERED_BY = {"onnx": "cast", "coreml": "coreml", **dict.fromkeys(OF_TENSORRT, "engine")}
REACHED = [(t, p) for t in TARGETS for p in PRECISIONS if p in options(LOWERED_BY.get(t, "ir"))]
THROUGHOUT = ("resnet50", "transformers", *FILES)
# What is lowered after all else is there, and so has little to do with what came before.
OF_IR = options("ir")
LOWERED = ("int8", "int8_weights", "int4_weights", "palette4", "palette6", "palette8")
COMBINATIONS = [
    (m, t, r, c, p)
    for m, (t, p) in itertools.product(MODELS, REACHED)
    for r in ROUTED_BY[t]
    for c in CAPTURED_BY[m]
    # Only the stage of route=auto captures by itself what it compiles, and it has no use for a file.
    if (r, c) not in (("direct", "auto"), ("auto", None))
    # A model decides what loads it and no more, so most are tried one way to each target.
    if (m in THROUGHOUT and (p not in LOWERED or m in ("resnet50", *FILES)))
    or ((r, c) == ("onnx", "export") and "_" not in t and p not in LOWERED)
    # What it chooses between is tried everywhere.
    if c != "by_opset" or m == "resnet50"
    # No graph is made of another framework's file: the compiler reads it.
    if m != "file" or (r == "direct" and t != "coreml")
    # Up to the graph, TensorRT's are ONNX's.
    if t not in OF_TENSORRT or m in ("resnet50", "onnx_file")
    # A Core ML package is made of no graph.
    if m != "onnx_file" or t != "coreml"
]
EXPERIMENTS = options("experiment")

# What the user must give to the models that are not complete by themselves, besides a name.
GIVEN = {
    "custom": ["model.factory=my_package.Net", "model.weights=random"],
    "file": ["model.path=net.tflite"],
    "module_file": ["model.weights=net.pt"],
    "onnx_file": ["model.weights=net.onnx"],
    "transformers": ["model.factory=transformers.AutoModel", "model.weights=random", "+model.kwargs.model_type=bert"],
}
FROM_MODULE = {"load": Kind.MODULE, "eval": Kind.MODULE, "reference": Kind.REFERENCE}
# How each capture, or a file, begins.
TO_PROGRAM = {
    "by_opset": {**FROM_MODULE, "capture": Kind.EXPORTED},
    "export": {**FROM_MODULE, "capture": Kind.EXPORTED},
    "trace": {**FROM_MODULE, "capture": Kind.TORCHSCRIPT},
    "script": {**FROM_MODULE, "capture": Kind.TORCHSCRIPT},
    "auto": FROM_MODULE,
    None: {"export": Kind.ONNX, "reference": Kind.REFERENCE},
}
THROUGH_ONNX = {"export": Kind.ONNX, "check_export": Kind.ONNX, "simplify": Kind.ONNX, "check_simplify": Kind.ONNX}
FROM_FILE = {"open": Kind.FILE, "reference": Kind.REFERENCE}
GRAPHS = (Kind.ONNX, Kind.OPENVINO, Kind.TENSORRT, Kind.COREML)
CAST = {"cast": Kind.ONNX, "check_cast": Kind.ONNX}


def lowered(kind: Kind, precision: str) -> dict[str, Kind]:
    calibrated = {"calibration": Kind.SAMPLES} if precision == "int8" else {}
    return {**calibrated, "quantize": kind, "check_quantize": kind} if precision in LOWERED else {}


def after(target: str, precision: str) -> dict[str, Kind]:
    """What follows the graph, or the program."""
    kind = {"openvino": Kind.OPENVINO, "coreml": Kind.COREML}.get(target.partition("_")[0], Kind.ONNX)
    compiled = dict.fromkeys(("compile", "check_compile"), kind)
    first = compiled if kind is not Kind.ONNX else CAST if precision in ("fp16", "bf16") else {}
    built = {**first, **lowered(kind, precision)}
    if target in OF_TENSORRT:
        built["assess"] = kind
    if target == "tensorrt":
        kind = Kind.TENSORRT
        built |= dict.fromkeys(("compile", "check_compile"), kind)
    return {**built, "audit": kind, "save": Kind.DELIVERY}


def fitting(target: str, precision: str) -> list[str]:
    """What a precision needs besides, to be what a target can honour."""
    four_bits = ["opset=21"] if (target, precision) == ("onnx", "int4_weights") else []
    return [f"target={target}", f"precision={precision}", *four_bits]


@pytest.fixture(autouse=True)
def _shipped_configs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)  # a ./conf of the user's would be searched too
    monkeypatch.delenv("DRYDOCK_CONF", raising=False)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def given(model: str) -> list[str]:
    nameless = OmegaConf.is_missing(OmegaConf.load(CONF / "model" / f"{model}.yaml"), "name")
    return [f"model={model}", *GIVEN.get(model, []), *(["model.name=one_of_them"] if nameless else [])]


def composed(*overrides: str) -> DictConfig:
    return compose("config", list(overrides))


def nodes(*overrides: str) -> list[Node]:
    """The checked graph, as `python -m pipeline` builds it."""
    settings: Any = OmegaConf.to_container(composed(*overrides).stages, resolve=True, throw_on_missing=True)
    stages = {name: build_stage(f"stages.{name}", given) for name, given in settings.items()}
    return graph.build(stages, {name: settings[name]["needs"] or () for name in stages})


def stage(name: str, *overrides: str) -> Any:
    return next(n.stage for n in nodes(*overrides) if n.name == name)


def test_the_globs_found_every_choice():
    assert len(COMBINATIONS) >= 2 * 60 + 10 * 5
    assert len(EXPERIMENTS) >= 1


@pytest.mark.parametrize(("model", "target", "route", "capture", "precision"), COMBINATIONS)
def test_every_combination_builds_a_graph_of_the_expected_kinds_in_order(model, target, route, capture, precision):
    from_file = model in FILES
    asked = [a for a in fitting(target, precision) if not (from_file and a.startswith("opset"))]
    asked += ([f"capture={capture}"] if capture else []) + (["model.calibration.source=random"] if from_file else [])
    built = nodes(*given(model), *asked, *([f"route={route}"] if target == "openvino" else []))
    to_program = FROM_FILE if model == "file" else TO_PROGRAM[capture]
    through = THROUGH_ONNX if route == "onnx" else {}
    expected = {**to_program, **through, **after(target, precision)}
    assert [(n.name, n.kind) for n in built] == list(expected.items())
    assert [p for n in built for p in n.stage.problems()] == []


@pytest.mark.parametrize(("target", "precision"), REACHED)
def test_every_artifact_is_checked_after_it_was_made_and_before_it_is_saved(target, precision):
    built = nodes(*fitting(target, precision))
    for made, then in itertools.pairwise(n for n in built if n.kind in (*GRAPHS, Kind.DELIVERY)):
        assert made.stage.passes_on or then.name == f"check_{made.name}"
        assert then.inputs.get("artifact", made.name) == made.name


@pytest.mark.parametrize("precision", OF_IR)
def test_a_precision_brings_its_storage_and_its_tolerance(precision):
    built = {n.name: n.stage for n in nodes(f"precision={precision}")}
    told = composed(f"precision={precision}").precision
    last = built["check_quantize" if precision in LOWERED else "check_compile"]
    assert (built["compile"].storage, last.compute) == (told.storage, told.compute)
    assert vars(last.tolerance) == shipped(precision)
    assert vars(built["check_export"].tolerance) == shipped("fp32")
    assert (built["audit"].weights, built["audit"].operations) == (told.weights, told.operations)


@pytest.mark.parametrize(("target", "stored", "opset"), [("onnx", "bfloat16", 22), ("openvino", "float32", 18)])
def test_bfloat16_is_stored_in_a_graph_and_computed_in_by_what_runs_an_ir(target, stored, opset):
    asked = composed("precision=bf16", f"target={target}")
    assert (asked.precision.storage, list(asked.precision.weights), asked.opset) == (stored, [stored], opset)
    assert composed("precision=bf16", f"target={target}", "opset=23").opset == 23


@pytest.mark.parametrize(("target", "asked"), [("onnx", (1, 2, 8)), ("tensorrt_bundle", (1, 4, 16))])
def test_a_target_says_the_batch_of_models_that_say_none(target, asked):
    batch = stage("reference", f"target={target}").dims["batch"]
    assert (batch.min, batch.opt, batch.max) == asked
    assert stage("reference", f"target={target}", "model.dims.batch.max=32").dims["batch"].max == 32


def test_a_tensorrt_graph_has_what_its_parser_takes():
    assert stage("quantize", *BUNDLE, "precision=int8").symmetric
    assert "Exp" in stage("cast", *BUNDLE, "precision=fp16").wide
    assert stage("cast", "target=onnx", "precision=fp16").wide == []
    profiles = "target.profiles=[{batch: [1, 1, 1]}]"
    assert stage("assess", *BUNDLE, profiles).profiles == stage("save", *BUNDLE, profiles).profiles


@pytest.mark.parametrize(("target", "precision"), [(t, p) for t, p in REACHED if p in LOWERED and t in OF_COMPILERS])
def test_what_is_lowered_is_held_to_the_tolerance_of_float32_before(target, precision):
    assert vars(stage("check_compile", f"target={target}", f"precision={precision}").tolerance) == shipped("fp32")


@pytest.mark.parametrize("precision", options("coreml"))
@pytest.mark.parametrize("also", [[], ["also=pruned"]], ids=["dense", "pruned"])
def test_a_core_ml_package_is_held_to_its_precision_or_to_its_pruning_and_is_audited_last(precision, also):
    asked = ["target=coreml", f"precision={precision}", *also, "stages.compile.deployment_target=iOS18"]
    built = {n.name: n for n in nodes(*asked)}
    last = built[built["audit"].inputs["artifact"]].stage
    assert vars(last.tolerance) == shipped("pruned" if also else precision)
    assert last.compute == ("float16" if precision == "fp16" else "float32")
    if precision in LOWERED:
        assert built["quantize"].inputs["package"] == ("check_prune" if also else "check_compile")
        assert built["quantize"].stage.joint_compression is bool(also)
    assert [p for n in built.values() for p in n.stage.problems()] == []


def test_four_bits_raise_the_deployment_target_and_are_refused_where_another_is_asked_for():
    four = ["target=coreml", "precision=int4_weights"]
    assert stage("compile", *four).deployment_target == "iOS18"
    found = stage("quantize", *four, "stages.compile.deployment_target=iOS17").problems()
    assert {p.command for p in found} == {"stages.compile.deployment_target=iOS18"}


def test_the_functions_of_a_package_are_joined_before_it_is_saved():
    *_, combine, check, save = nodes("target=coreml", "precision=palette4", "also=multifunction")
    assert (combine.name, check.name, save.inputs["artifact"]) == ("combine", "check_combine", "check_combine")
    assert vars(check.stage.tolerance) == shipped("palette4")


def shipped(tolerance: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(CONF / "tolerance" / f"{tolerance}.yaml"))


@pytest.mark.parametrize("model", [*CAPTURES, "onnx_file"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_benchmark_measures_what_is_delivered_and_changes_nothing_else(target, model):
    asked = given("onnx_file") if model == "onnx_file" else [f"capture={model}"]
    if (target, model) in (("openvino_direct", "auto"), ("coreml", "onnx_file")):
        return  # see COMBINATIONS
    *plain, save = nodes(*asked, f"target={target}")
    *same, benchmark, after = nodes(*asked, f"target={target}", "also=benchmark")
    assert (same, after.stage) == (plain, save.stage)
    wanted = {**save.inputs, "reference": "reference"}
    assert benchmark.inputs == (wanted if model == "onnx_file" else {**wanted, "module": "eval"})


def test_both_can_be_done_besides_and_each_feeds_on_what_it_is_about():
    *_, benchmark, check, _ = nodes("also=[benchmark,torch_compile]", "precision=bf16")
    assert (benchmark.name, benchmark.inputs["artifact"]) == ("benchmark", "audit")
    assert (check.name, check.inputs) == ("check_torch_compile", {"artifact": "eval", "reference": "reference"})
    assert (check.stage.compute, benchmark.stage.compute) == ("bfloat16", "bfloat16")
    assert check.stage.tolerance.max_rel == stage("check_compile", "precision=bf16").tolerance.max_rel
    assert nodes("also=[torch_compile,benchmark]")[-2].inputs["artifact"] == "audit"


@pytest.mark.parametrize(("target", "precision"), REACHED)
def test_an_artifact_is_measured_computing_in_what_it_was_checked_in(target, precision):
    built = {n.name: n for n in nodes(*fitting(target, precision), "also=benchmark")}
    *_, checked = (n.stage for n in built.values() if n.name.startswith("check_"))
    by_precision = {"fp16": "float16"} if target in ("onnx", "coreml", *OF_TENSORRT) else {}
    by_precision["bf16"] = "bfloat16"
    wanted = by_precision.get(precision, "float32")
    assert (built["benchmark"].stage.compute, checked.compute) == (wanted, wanted)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds_a_graph_and_pins_its_choices(name):
    built = nodes(f"experiment={name}")
    assert built[-1].kind is Kind.DELIVERY
    written = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
    assert {"opset", "seed", "model"} <= {str(k) for k in written}
    assert {"override /model", "override /target", "override /precision"} <= {
        str(k) for d in written.defaults for k in d
    }


def test_a_choice_on_the_command_line_beats_the_experiment():
    assert stage("export", "experiment=resnet50_openvino_fp16", "opset=19").opset == 19


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        (["~stages.simplify"], {"simplify"}),
        (["+stage@stages.again=simplify", "+tolerance@stages.again.tolerance=fp32"], {"again"}),
    ],
)
def test_stages_can_be_taken_out_and_put_in(overrides, stages):
    assert {n.name for n in nodes(*overrides)} ^ {n.name for n in nodes()} == stages


def test_a_stage_that_others_live_on_is_missed_by_name():
    with pytest.raises(ConfigError, match=r"stages\.capture takes reference as its 'reference', and no stage"):
        nodes("~stages.reference")


def test_a_check_without_a_graph_before_it_does_not_take_the_module_in_its_place():
    with pytest.raises(
        ConfigError,
        match=r"stages\.check_export takes coreml or onnx or .* as its 'artifact', and no stage",
    ):
        nodes("~stages.capture", "~stages.export")


def test_the_models_interface_enters_where_the_reference_is_recorded():
    reference = stage("reference", "model.dims.batch.max=16", "model.outputs=[scores]", "model.call={args: [input]}")
    assert reference.dims["batch"].max == 16
    assert (list(reference.inputs), reference.outputs, reference.call) == (["input"], ["scores"], {"args": ["input"]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("call", "{args: [input]}"),
        ("preprocessing", "{resize: 256, mean: [0.5], std: [0.5]}"),
        ("inputs", "{input: {shape: [2, 3]}}"),
        ("outputs", "[{scores: x.y}]"),
        ("outputs", "[scores]"),
    ],
)
def test_what_a_model_leaves_open_can_be_said_on_the_command_line(key, value):
    assert getattr(stage("reference", *given("onnx_file"), f"model.{key}={value}"), key)


def test_the_interface_of_a_file_enters_where_it_is_opened_too():
    built = {n.name: n.stage for n in nodes(*given("onnx_file"), "+model.dims.batch={min: 1, opt: 2, max: 16}")}
    assert [built[name].dims["batch"].max for name in ("export", "reference")] == [16, 16]


def test_the_interface_of_another_frameworks_file_enters_where_it_is_opened_too():
    overrides = ["+model.dims.image_dim0={min: 1, opt: 2, max: 16}", '+model.names.image="serving_default_image:0"']
    built = {n.name: n.stage for n in nodes(*given("file"), *overrides)}
    assert [built[name].dims["image_dim0"].max for name in ("open", "reference")] == [16, 16]
    assert (built["open"].path, built["open"].names) == ("net.tflite", {"image": "serving_default_image:0"})


def test_no_onnx_graph_is_made_of_another_frameworks_file():
    with pytest.raises(ConfigError, match=r"stages\.audit takes .* as its 'artifact', and no stage"):
        nodes(*given("file"), "target=onnx")


def test_one_seed_reaches_weights_and_inputs():
    built = {n.name: n.stage for n in nodes("seed=7")}
    assert {built[name].seed for name in ("load", "reference")} == {7}


# One wrong value for each setting of each stage: what it is, by the type of its field.
WRONG = {
    "load": {
        "factory": "[1]",
        "kwargs": "3",
        "weights": "{a: 1}",
        "sha256": "[1]",
        "pretrained": "{a: 1}",
        "checkpoint_key": "[1]",
        "prefixes": "module",
        "strict": "sometimes",
        "seed": "one",
    },
    "reference": {
        "inputs": "3",
        "dims": "[1]",
        "outputs": "logits",
        "call": "3",
        "preprocessing": "3",
        "photographs": "some",
        "photographed": "[1]",
        "shapes": "{a: 1}",
        "seed": "1.5",
    },
    "open": {"path": "[1]", "sha256": "[1]", "names": "3", "inputs": "3", "dims": "[1]", "extensions": "3"},
    "capture": {"graph_opset": "eighteen", "store_up_to": "much"},
    "simplify": {"weightless_above": "much", "tolerance": "3"},
    "export": {
        "opset": "eighteen",
        "translations": "3",
        "symbolics": "3",
        "keep_source": "maybe",
        "tolerance": "3",
        "weights": "[1]",
        "sha256": "[1]",
        "inputs": "3",
        "dims": "[1]",
    },
    "cast": {"ignored": "3", "wide": "3"},
    "cast.ignored": {"names": "Softmax", "patterns": "Softmax", "types": "Softmax"},
    "check_export": {"compute": "[1]", "properties": "3", "extensions": "3", "tolerance": "3", "blame": "maybe"},
    "check_export.tolerance": {"max_rel": "tiny", "p99_rel": "[1]", "cosine": "none", "top1": "{a: 1}"},
    "compile": {
        "storage": "{a: 1}",
        "edits": "3",
        "preprocessing": "3",
        "extensions": "3",
        "captures": "export",
        "opset": "eighteen",
        "compute": "[1]",
        "tolerance": "3",
        **dict.fromkeys(("deployment_target", "compute_units", "shapes"), "[1]"),
        "ignored": "3",
        "sizes": "3",
        "classifier": "maybe",
        "metadata": "3",
    },
    "compile.edits": {
        "reshape": "3",
        "outputs": "{a: 1}",
        "names": "[a]",
        "dtypes": "[a]",
        "layouts": "[a]",
    },
    "calibration": {"count": "many", "preprocessing": "3", "seed": "one"},
    "quantize": {
        **dict.fromkeys(("preset", "model_type", "target_device", "metric", "mode"), "[1]"),
        **dict.fromkeys(("fast_bias_correction", "symmetric", "all_layers", "awq", "scale_estimation"), "maybe"),
        **dict.fromkeys(("max_drop", "group_size", "ratio", "graph_opset"), "many"),
        **dict.fromkeys(("ignored", "extensions"), "3"),
        **dict.fromkeys(("dtype", "granularity", "deployment_target"), "[1]"),
        **dict.fromkeys(("nbits", "channel_axis", "cluster_dim", "weight_threshold"), "many"),
        **dict.fromkeys(("joint_compression", "enable_per_channel_scale"), "maybe"),
    },
    "prune": {
        **dict.fromkeys(("target_sparsity", "threshold", "minimum_sparsity_percentile"), "much"),
        **dict.fromkeys(("block_size", "dim", "weight_threshold"), "many"),
        "n_m_ratio": "2",
        "joint_compression": "maybe",
        "ignored": "3",
        "deployment_target": "[1]",
    },
    "combine": {"name": "[1]", "functions": "3", "deployment_target": "[1]"},
    "answers": {"count": "many", "preprocessing": "3", "seed": "one"},
    "evaluate": {
        "metric": "[1]",
        "max_drop": "much",
        "compute": "[1]",
        "properties": "3",
        "extensions": "3",
        "blame": "maybe",
    },
    "audit": {"weights": "3", "operations": "3", "extensions": "3"},
    "blob": {"device": "[1]", "compute": "[1]", "properties": "3", "extensions": "3"},
    "save": {
        "name": "[1]",
        "bundle": "maybe",
        "license": "[1]",
        "preprocessing": "3",
        **dict.fromkeys(("releases", "profiles", "shape_values"), "3"),
        **dict.fromkeys(("workspace_mib", "optimization_level"), "many"),
        **dict.fromkeys(("tf32", "version_compatible", "lean_runtime", "strip_weights", "weight_streaming"), "maybe"),
        **dict.fromkeys(("verbosity", "hardware_compatibility"), "[1]"),
    },
    "assess": {"releases": "3", "plugins": "3", "profiles": "3"},
    "benchmark": {
        "case": "[1]",
        "compute": "{a: 1}",
        "properties": "3",
        "extensions": "3",
        "threads": "many",
        "rounds": "1.5",
        "seconds": "long",
        "warmup": "maybe",
        "against": "eager",
        "noisy_above": "loud",
        "again": "yes",
    },
}
WRONG_TYPES = [(place, key, value) for place, keys in WRONG.items() for key, value in keys.items()]


BUNDLE = ["target=tensorrt_bundle"]
# The settings of stages that stand in the place of another.
ELSEWHERE = {
    **{("export", key): ["capture=auto"] for key in ("tolerance",)},
    **{("export", key): given("onnx_file") for key in ("weights", "sha256", "inputs", "dims")},
    **{("compile", key): ["route=auto"] for key in ("captures", "opset", "compute", "tolerance")},
    **{
        ("quantize", key): ["precision=int4_weights"]
        for key in ("mode", "group_size", "ratio", "all_layers", "awq", "scale_estimation")
    },
    **{("quantize", key): ["precision=int8", "also=accuracy_control"] for key in ("metric", "max_drop")},
    **{("save", f.name): BUNDLE for f in fields(EngineSettings)},
    ("save", "releases"): BUNDLE,
    **{
        ("compile", key): ["target=coreml"]
        for key in ("deployment_target", "compute_units", "shapes", "ignored", "sizes", "classifier", "metadata")
    },
    **{
        ("quantize", key): ["target=coreml", "precision=palette4"]
        for key in ("nbits", "granularity", "channel_axis", "cluster_dim", "enable_per_channel_scale")
    },
    **{
        ("quantize", key): ["target=coreml", "precision=int8_weights"]
        for key in ("dtype", "weight_threshold", "joint_compression", "deployment_target")
    },
}


BESIDE = {
    "assess": BUNDLE,
    "prune": ["target=coreml", "also=pruned"],
    "combine": ["target=coreml", "also=multifunction"],
    "cast": ["target=onnx", "precision=fp16"],
    "benchmark": ["also=benchmark"],
    "blob": ["also=compiled"],
    "calibration": ["precision=int8"],
    "quantize": ["precision=int8"],
    "answers": ["also=evaluate"],
    "evaluate": ["also=evaluate"],
}


def asked_for(place, key=""):
    whole = {**BESIDE, "open": given("file")}
    return ELSEWHERE.get((place, key)) or whole.get(place.partition(".")[0], [])


def cause_of_refusal(*overrides: str) -> BaseException | None:
    """What OmegaConf found wrong, where Hydra says only which override it could not merge."""
    with pytest.raises(ConfigCompositionException) as caught:
        composed(*overrides)
    return caught.value.__cause__


@pytest.mark.parametrize(("place", "key", "value"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_while_composing(place, key, value):
    cause = cause_of_refusal(*asked_for(place, key), f"stages.{place}.{key}={value}")
    assert isinstance(cause, ValidationError | ConfigTypeError)
    assert f"stages.{place}.{key}" in str(cause)


@pytest.mark.parametrize(
    "asked",
    [
        given("file"),
        [*given("onnx_file"), "target=onnx"],
        *([f"capture={c}", "target=onnx"] for c in CAPTURES),
        *([f"route={r}", "target=openvino"] for r in ROUTES),
        ["target=openvino", "also=[benchmark,compiled,evaluate]"],
        ["precision=int8"],
        ["precision=int8", "also=accuracy_control"],
        ["precision=int4_weights"],
        ["target=tensorrt_bundle"],
        *(["target=coreml", "also=[pruned,multifunction]", f"precision={p}"] for p in ("int8_weights", "palette4")),
    ],
    ids=" ".join,
)
def test_every_setting_of_every_stage_has_a_wrong_value_in_the_table(asked):
    precision = [] if any("precision" in a for a in asked) else ["precision=fp16"]
    settings = composed(*asked, *precision).stages
    typed = {(n, k) for n in settings for k in settings[n] if k not in ("_target_", "needs")}
    typed = {(n, k) for n, k in typed if n in WRONG or not n.startswith("check")}
    # Of any type: the stages say what is wrong.
    typed -= {("calibration", "samples"), ("answers", "samples"), ("save", "labels")}
    typed -= {("quantize", "block_size"), ("compile", "labels")}
    assert typed <= {(p, k) for p, k, _ in WRONG_TYPES}


@pytest.mark.parametrize("outputs", ["[]", "[1]", "[a, {b: c}]"])
def test_outputs_that_are_neither_names_nor_paths_are_a_problem_before_any_work(outputs):
    (problem,) = stage("reference", f"model.outputs={outputs}").problems()
    assert problem.what.startswith("outputs is ")


@pytest.mark.parametrize("place", [*WRONG, "eval"])
def test_an_unknown_setting_is_refused_while_composing(place):
    cause = cause_of_refusal(*asked_for(place), f"stages.{place}.no_such_setting=1")
    assert isinstance(cause, ConfigKeyError | ConfigAttributeError)
    assert "no_such_setting" in str(cause)


@pytest.mark.parametrize("key", ["modle", "model.wieghts", "precision.sotrage", "opste"])
def test_an_unknown_key_is_refused_while_composing(key):
    cause = cause_of_refusal(f"{key}=1")
    assert isinstance(cause, ConfigKeyError | ConfigAttributeError)
    assert key.rpartition(".")[2] in str(cause)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("+model.inputs.input.shap=[1]", r"stages\.\w+.*shap"),
        ("model.inputs.input.dtype=[1]", r"stages\.\w+\.inputs\.input\.dtype"),
        ("model.dims.batch.max=many", r"stages\.\w+\.dims\.batch\.max"),
        ("+stages.export.opse=20", r"stages\.export\.opse is no setting of ExportByOpset, did you mean 'opset'"),
    ],
)
def test_what_the_composition_cannot_know_is_refused_when_a_stage_is_built(override, says):
    with pytest.raises(ConfigError, match=says):
        nodes(override)


@pytest.mark.parametrize(("name", "missing"), [("custom", "factory"), ("custom", "weights"), ("torchvision", "name")])
def test_a_model_that_the_user_must_complete_has_no_value_there(name, missing):
    assert OmegaConf.is_missing(composed(f"model={name}").model, missing)
    with pytest.raises(OmegaConfBaseException):
        nodes(f"model={name}")


def test_a_translation_is_given_on_the_command_line_as_the_messages_say():
    """Hydra takes a bare colon for the end of a key, and adds to a mapping only what has a plus before it."""
    asked = composed(translations.EXAMPLE.strip("'"))
    assert asked.stages.export.translations == {"my_ns::my_op": "my_pkg.onnx_ops.my_op"}


@pytest.mark.parametrize("precision", OF_IR)
@pytest.mark.parametrize(
    "also", ["raw_images", "compiled", "benchmark", "torch_compile", "[raw_images,compiled,benchmark]"]
)
@pytest.mark.parametrize("route", ROUTES)
def test_whatever_else_is_wanted_of_an_ir_goes_with_every_precision_and_route(precision, also, route):
    asked = [f"precision={precision}", f"also={also}", f"route={route}"]
    if precision == "int8" and "raw_images" in also:  # samples are what a model takes, not photographs of any size
        with pytest.raises(ConfigCompositionException, match="int8_raw_images"):
            nodes(*asked)
        return
    built = nodes(*asked)
    wanted = {"raw_images", "compiled"} & set(also.strip("[]").split(","))
    assert ("check_blob" in [n.name for n in built]) == ("compiled" in wanted)
    assert [p for n in built for p in n.stage.problems()] == []


def test_operations_of_ones_own_reach_what_openvino_runs_and_nothing_else():
    asked = ["target.extensions=[my_pkg.rule]", "also=[compiled,benchmark]"]
    told = {n.name: n.stage.extensions for n in nodes(*asked) if hasattr(n.stage, "extensions")}
    wanted = {"compile", "check_compile", "audit", "blob", "check_blob", "benchmark"}
    assert {n for n, e in told.items() if e} == wanted


def test_they_reach_what_lowers_an_ir_and_measures_its_accuracy_too():
    asked = ["target.extensions=[my_pkg.rule]", "precision=int8", "also=evaluate"]
    told = {n.name: n.stage.extensions for n in nodes(*asked) if hasattr(n.stage, "extensions")}
    assert {"quantize", "check_quantize", "audit", "evaluate"} <= {n for n, e in told.items() if e}


def test_what_is_made_of_an_ir_may_be_as_far_off_as_the_ir():
    built = {n.name: n.stage for n in nodes("also=[raw_images,compiled]", "route=auto")}
    wide = OmegaConf.to_container(OmegaConf.load(CONF / "tolerance" / "fp32_raw_images.yaml"))
    assert [vars(built[n].tolerance) for n in ("compile", "check_compile", "check_blob")] == [wide] * 3


def test_what_is_made_of_a_lowered_ir_may_be_as_far_off_as_that():
    built = {n.name: n.stage for n in nodes("also=compiled", "precision=int8")}
    assert vars(built["check_blob"].tolerance) == shipped("int8")
    assert vars(built["check_compile"].tolerance) == shipped("fp32")


@pytest.mark.parametrize(
    ("asked", "what", "command"),
    [
        (["precision=int8", "opset=21"], "int8 at opset 21", "opset=20"),
        (["precision=int8", "opset=12", "capture=trace"], "int8 at opset 12", "opset=13"),
        (["precision=int8_weights", "opset=12", "capture=trace"], "int8_asym weights at opset 12", "opset=13"),
        (["precision=int4_weights", "opset=18"], "int4_sym weights at opset 18", "opset=21"),
        (["precision=int8", "also=accuracy_control", "opset=21"], "int8 at opset 21", "opset=20"),
    ],
)
def test_a_precision_that_a_graph_of_this_opset_cannot_have_is_a_problem_before_any_work(asked, what, command):
    (problem,) = [p for n in nodes("target=onnx", *asked) if n.name == "quantize" for p in n.stage.problems()]
    assert problem.what.startswith(what)
    assert problem.command == command


@pytest.mark.parametrize("precision", sorted({*LOWERED} & {*OF_IR}))
def test_an_ir_has_no_opset_that_its_precision_would_depend_on(precision):
    assert stage("quantize", f"precision={precision}", "opset=20").problems() == []


def test_ranges_are_calibrated_on_random_draws_only_where_a_model_says_so_by_name():
    (problem,) = stage("calibration", *given("custom"), "precision=int8").problems()
    assert problem.what.startswith("samples.source is not set")
    assert stage("calibration", "precision=int8").samples["source"] == "random"
    asked = stage("calibration", "precision=int8", "model.calibration={source: images, path: photos/}")
    assert (asked.samples["path"], asked.problems()) == ("photos/", [])


@pytest.mark.parametrize(
    ("model", "scheme"), [("resnet50", None), ("vit_b_16", "transformer"), ("transformers", "transformer")]
)
def test_a_model_with_attention_is_quantised_by_the_scheme_for_that(model, scheme):
    for more in ([], ["also=accuracy_control"]):
        assert stage("quantize", *given(model), "precision=int8", *more).model_type == scheme


def test_accuracy_is_measured_on_what_is_delivered_and_the_module_is_asked_once_for_all():
    built = {
        n.name: n for n in nodes("precision=int8", "also=evaluate", "model.evaluation={source: arrays, path: a.npz}")
    }
    wanted = {"artifact": "audit", "answers": "answers", "calibration": "calibration"}
    assert built["evaluate"].inputs == wanted
    assert built["answers"].inputs == {"reference": "reference", "module": "eval"}


def test_accuracy_control_takes_the_place_of_plain_quantisation():
    built = {n.name: n for n in nodes("precision=int8", "also=[accuracy_control,evaluate]")}
    wanted = {"graph": "check_compile", "samples": "calibration", "answers": "answers"}
    assert built["quantize"].inputs == wanted
    assert built["evaluate"].inputs["answers"] == "answers"


def test_a_bundle_has_the_reference_and_what_the_model_says_of_itself():
    asked = ["stages.save.bundle=true", "model.license=MIT", "model.labels=[cat, dog]"]
    *_, save = nodes(*asked)
    assert save.inputs == {"artifact": "audit", "reference": "reference"}
    assert (save.stage.license, save.stage.labels) == ("MIT", ["cat", "dog"])
    assert save.stage.preprocessing == stage("reference").preprocessing
    assert nodes()[-1].inputs == {"artifact": "audit"}


def test_blame_reaches_every_check():
    told = {n.name: n.stage.blame for n in nodes("blame=true", "also=evaluate") if hasattr(n.stage, "blame")}
    assert set(told) == {"check_export", "check_simplify", "check_compile", "evaluate"}
    assert all(told.values())


ROOT = CONF.parent
# The help's are beside words of its own.
WRITTEN = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(set(CONF.rglob("*.yaml")) - set(CONF.glob("hydra/**/*"))),
]
COMMANDS = sorted(
    {
        line.strip().lstrip("# ")
        for path in WRITTEN
        for line in path.read_text().replace("\\\n", " ").splitlines()
        if line.strip().lstrip("# ").startswith("python -m pipeline ")
    }
)


def test_there_are_commands_in_the_documents():
    assert len(COMMANDS) > 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_documents_composes(command):
    arguments = shlex.split(command, comments=True)[3:]
    if {"-m", "--help", "--cfg"} & {*arguments} or any("…" in a or "mine" in a or "$(" in a for a in arguments):
        return
    composed(*arguments)
