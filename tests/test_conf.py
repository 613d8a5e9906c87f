"""conf/: every shipped choice composes, builds and holds together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from _pytest.mark import ParameterSet
from compositions import (
    CAPTURES,
    LOWERED,
    MODELS,
    OF_COMPILERS,
    OF_IR,
    OF_TENSORRT,
    REACHED,
    ROUTES,
    TARGETS,
    composed,
    fitting,
    loader,
    model_overrides,
    nodes,
    options,
    shipped,
    stage,
)
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pipeline.artifact import Kind
from pipeline.config.compose import CONF
from pipeline.errors import ConfigError
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.coreml.format import COREML
from stages.frameworks.format import FILE
from stages.onnx.exporting import translations
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO
from stages.tensorrt.format import TENSORRT

# A graph that is given as a file is not captured.
FILES = ("onnx_file", "file")
CAPTURED_BY = {model: [None] if model in FILES else CAPTURES for model in MODELS}
# The routes that a target may be asked for by: onnx has one, and openvino_onnx says its own.
ROUTED_BY = {target: ROUTES if target == "openvino" else [target.rpartition("_")[2]] for target in TARGETS}
ROUTED_BY |= {"coreml": ["direct"], **{target: ["onnx"] for target in OF_TENSORRT}}
THROUGHOUT = ("resnet50", "transformers", *FILES)
COMBINATIONS = [
    (m, t, r, c, p)
    for m, (t, p) in itertools.product(MODELS, REACHED)
    for r in ROUTED_BY[t]
    for c in CAPTURED_BY[m]
    # A file is captured by nothing, so there is no other way to it.
    if (r, c) != ("auto", None)
    # A model decides what loads it and no more, so most are tried one way to each target.
    if (m in THROUGHOUT and (p not in LOWERED or m in ("resnet50", *FILES)))
    or ((r, c) in (("onnx", "export"), ("onnx_first", "export")) and "_" not in t and p not in LOWERED)
    # What it chooses between is tried everywhere.
    if c not in ("auto", "trace_first") or m == "resnet50"
    # No graph is made of another framework's file: the compiler reads it.
    if m != "file" or (r == "direct" and t != "coreml")
    # Up to the graph, TensorRT's are ONNX's.
    if t not in OF_TENSORRT or m in ("resnet50", "onnx_file")
    # A Core ML package is made of no graph.
    if m != "onnx_file" or t != "coreml"
]


EXPERIMENTS = options("experiment")


def in_pairs(rows: Sequence[tuple[object, ...]], apart: Sequence[tuple[int, int]] = ()) -> list[tuple[object, ...]]:
    """Rows in which any two values stand together that do so anywhere in all of them, but for two columns' `apart`."""
    pairs = {row: set(itertools.combinations(enumerate(row), 2)) for row in rows}
    return covering({row: {p for p in pairs[row] if (p[0][0], p[1][0]) not in apart} for row in rows})


def in_singles(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Rows in which each value stands that does so anywhere in all of them."""
    return covering({row: {*enumerate(row)} for row in rows})


def covering(kinds_by_pair: Mapping[tuple[object, ...], set[object]]) -> list[tuple[object, ...]]:
    """Few rows that tell all that all of them tell."""
    missing, chosen = set().union(*kinds_by_pair.values()), []
    while missing:
        chosen.append(max(kinds_by_pair, key=lambda row: len(kinds_by_pair[row] & missing)))
        missing -= kinds_by_pair[chosen[-1]]
    return chosen


def slow_but(quick: Sequence[tuple[object, ...]], rows: Sequence[tuple[object, ...]]) -> list[ParameterSet]:
    """All rows for a test, those that are not in `quick` marked slow."""
    return [pytest.param(*row, marks=[] if row in quick else pytest.mark.slow) for row in rows]


# target=openvino with its route said: what is tried of openvino need not be tried of these.
ALIKE = ("openvino_direct", "openvino_onnx")
# What loads a model has little to do with what becomes of it, and what captures it with the precision.
QUICK = [
    *in_pairs([row for row in COMBINATIONS if row[1] not in ALIKE], apart=((0, 1), (0, 3), (0, 4), (3, 4))),
    *in_singles([row for row in COMBINATIONS if row[1] in ALIKE]),
]

FROM_MODULE = {"load": Kind.MODULE, "eval": Kind.MODULE, "reference": Kind.REFERENCE}
# How each capture, or a file, begins.
TO_PROGRAM = {
    "auto": {**FROM_MODULE, "capture": EXPORTED},
    "export": {**FROM_MODULE, "capture": EXPORTED},
    "trace": {**FROM_MODULE, "capture": TORCHSCRIPT},
    "trace_first": {**FROM_MODULE, "capture": TORCHSCRIPT},
    "script": {**FROM_MODULE, "capture": TORCHSCRIPT},
    None: {"export": ONNX, "reference": Kind.REFERENCE},
}
THROUGH_ONNX = {"export": ONNX, "check_export": ONNX, "simplify": ONNX, "check_simplify": ONNX}
FROM_FILE = {"open": FILE, "reference": Kind.REFERENCE}
GRAPHS = (ONNX, OPENVINO, TENSORRT, COREML)
CAST = {"cast": ONNX, "check_cast": ONNX}


def lowered(kind: Kind, precision: str) -> dict[str, Kind]:
    calibrated = {"held_out": Kind.REFERENCE, "calibration": Kind.SAMPLES} if precision == "int8" else {}
    return {**calibrated, "quantize": kind, "check_quantize": kind} if precision in LOWERED else {}


def after(target: str, precision: str) -> dict[str, Kind]:
    """The stages after the graph, or after the program."""
    kind = {"openvino": OPENVINO, "coreml": COREML}.get(target.partition("_")[0], ONNX)
    compiled = dict.fromkeys(("compile", "check_compile"), kind)
    first = compiled if kind != ONNX else CAST if precision in ("fp16", "bf16") else {}
    built = {**first, **lowered(kind, precision)}
    if target in OF_TENSORRT:
        built["assess"] = kind
    if target == "tensorrt":
        kind = TENSORRT
        built |= dict.fromkeys(("compile", "check_compile"), kind)
    return {**built, "audit": kind, "save": Kind.DELIVERY}


def test_the_globs_found_every_choice():
    assert len(COMBINATIONS) >= 2 * 60 + 10 * 5
    assert len(EXPERIMENTS) >= 1


@pytest.mark.parametrize(
    "overrides",
    [
        ["target=coreml", "precision=palette4", "also=pruned", "stages.compile.deployment_target=iOS18"],
        ["+model.dims.width={min: 1, opt: 2, max: 3}", "~stages.simplify", "opset=20"],
        [*model_overrides("transformers"), "capture=auto", "seed=7"],
        ["experiment=resnet50_openvino_fp16", "opset=19"],
        ["+stage@stages.again=check", "+tolerance@stages.again.tolerance=int8", "stages.again.compute=bfloat16"],
    ],
    ids=" ".join,
)
def test_what_is_composed_for_these_tests_is_what_hydra_composes(overrides):
    whole = loader().load_configuration("config", overrides, RunMode.RUN)
    with open_dict(whole):
        del whole["hydra"]
    assert OmegaConf.to_yaml(composed(*overrides)) == OmegaConf.to_yaml(whole)


def test_any_two_choices_that_go_together_are_tried_together():
    pairs = [
        {pair for row in rows for pair in itertools.combinations(enumerate(row), 2)}
        for rows in (COMBINATIONS, in_pairs(COMBINATIONS))
    ]
    assert pairs[0] == pairs[1]
    assert {(0, "resnet50"), (1, "coreml")} <= {value for pair in pairs[0] for value in pair}


@pytest.mark.parametrize(("model", "target", "route", "capture", "precision"), slow_but(QUICK, COMBINATIONS))
def test_every_combination_builds_a_graph_of_the_expected_kinds_in_order(model, target, route, capture, precision):
    from_file = model in FILES
    overrides = [a for a in fitting(target, precision) if not (from_file and a.startswith("opset"))]
    overrides += ([f"capture={capture}"] if capture else []) + (
        ["model.calibration.source=random"] if from_file else []
    )
    built = nodes(*model_overrides(model), *overrides, *([f"route={route}"] if target == "openvino" else []))
    to_program = FROM_FILE if model == "file" else TO_PROGRAM[capture]
    through = THROUGH_ONNX if route in ("onnx", "onnx_first") else {}
    expected = {**to_program, **through, **after(target, precision)}
    assert {n.name: n.kind for n in built} == expected
    assert [n.name for n in built if n.name not in EARLY] == [name for name in expected if name not in EARLY]
    assert [p for n in built for p in n.stage.problems()] == []
    if not from_file:  # which is what its graph is held to
        assert_checked_before_it_is_saved(built)


# Stages that take the model in memory, and run as soon as they can.
EARLY = ("held_out",)
FOLDERS = {
    "onnx": ["lay_out"],
    "coreml": ["fix_cache", "stateful", "check_stateful", "lay_out"],
    "openvino": ["stateful", "check_stateful", "lay_out"],
    "openvino_direct": ["stateful"],
}


@pytest.mark.parametrize("target", FOLDERS)
def test_a_language_model_ends_in_a_folder_whose_tokens_are_the_models(target):
    built = {n.name: n for n in nodes(*model_overrides("causal_lm"), f"target={target}")}
    order = list(built)
    assert order[-3:] == ["check_generation", "audit", "save"]
    assert set(FOLDERS[target]) < set(order)
    assert built["check_generation"].inputs == {"artifact": "lay_out", "tokens": "tokens"}
    module = "fix_cache" if target == "coreml" else "eval"
    assert built["tokens"].inputs == {"module": module, "reference": "reference", "files": "folder"}
    assert built["reference"].inputs == {"model": module}
    assert [p for n in built.values() for p in n.stage.problems()] == []
    *_, save = nodes(*model_overrides("causal_lm"), f"target={target}", "stages.save.bundle=true")
    assert save.inputs == {"artifact": "audit", "reference": "reference", "tokens": "tokens"}


@pytest.mark.parametrize("precision", ["fp16", pytest.param("int8_weights", marks=pytest.mark.slow), "int4_weights"])
def test_its_tokens_are_held_to_what_the_precision_may_cost(precision):
    overrides = [*model_overrides("causal_lm"), *fitting("onnx", precision)]
    assert vars(stage("check_generation", *overrides).tolerance) == shipped(precision)
    for_openvino = {"int4_weights": "int4_decoder"}.get(precision, precision)
    for target, tolerance_name in (("openvino", for_openvino), ("coreml", precision)):
        lowered = [*model_overrides("causal_lm"), f"target={target}", f"precision={precision}"]
        assert vars(stage("check_stateful", *lowered).tolerance) == shipped(tolerance_name)
    states = stage("check_stateful", *model_overrides("causal_lm"), "target=coreml").tolerance
    assert vars(states) == shipped("fp16_cache")


@pytest.mark.slow  # most of them are among the combinations before this
@pytest.mark.parametrize(("target", "precision"), REACHED)
def test_every_artifact_is_checked_after_it_was_made_and_before_it_is_saved(target, precision):
    assert_checked_before_it_is_saved(nodes(*fitting(target, precision)))


def assert_checked_before_it_is_saved(built):
    for artifact_node, then in itertools.pairwise(n for n in built if n.kind in (*GRAPHS, Kind.DELIVERY)):
        assert artifact_node.stage.passes_on or then.name == f"check_{artifact_node.name}"
        assert then.inputs.get("artifact", artifact_node.name) == artifact_node.name


@pytest.mark.parametrize("precision", OF_IR)
def test_a_precision_brings_its_storage_and_its_tolerance(precision):
    built = {n.name: n.stage for n in nodes(f"precision={precision}")}
    settings = composed(f"precision={precision}").precision
    last = built["check_quantize" if precision in LOWERED else "check_compile"]
    assert (built["compile"].storage, last.compute) == (settings.storage, settings.compute)
    assert vars(last.tolerance) == shipped(precision)
    assert vars(built["check_export"].tolerance) == shipped("fp32")
    assert (built["audit"].weights, built["audit"].operations) == (settings.weights, settings.operations)


@pytest.mark.parametrize(("target", "stored", "opset"), [("onnx", "bfloat16", 22), ("openvino", "float32", 18)])
def test_bfloat16_is_stored_in_a_graph_and_computed_in_by_what_runs_an_ir(target, stored, opset):
    overrides = composed("precision=bf16", f"target={target}")
    assert (overrides.precision.storage, list(overrides.precision.weights), overrides.opset) == (
        stored,
        [stored],
        opset,
    )
    assert composed("precision=bf16", f"target={target}", "opset=23").opset == 23


@pytest.mark.parametrize(("target", "overrides"), [("onnx", (1, 2, 8)), ("tensorrt_bundle", (1, 4, 16))])
def test_a_target_says_the_batch_of_models_that_say_none(target, overrides):
    batch = stage("reference", f"target={target}").dims["batch"]
    assert (batch.min, batch.opt, batch.max) == overrides
    assert stage("reference", f"target={target}", "model.dims.batch.max=32").dims["batch"].max == 32


def test_a_tensorrt_graph_has_what_its_parser_takes():
    bundle = "target=tensorrt_bundle"
    assert stage("quantize", bundle, "precision=int8").symmetric
    assert "Exp" in stage("cast", bundle, "precision=fp16").wide
    assert stage("cast", "target=onnx", "precision=fp16").wide == []
    profiles = "target.profiles=[{batch: [1, 1, 1]}]"
    assert stage("assess", bundle, profiles).profiles == stage("save", bundle, profiles).profiles


@pytest.mark.parametrize(("target", "precision"), [(t, p) for t, p in REACHED if p in LOWERED and t in OF_COMPILERS])
def test_what_is_lowered_is_held_to_the_tolerance_of_float32_before(target, precision):
    assert vars(stage("check_compile", f"target={target}", f"precision={precision}").tolerance) == shipped("fp32")


@pytest.mark.parametrize("precision", options("wiring/coreml"))
@pytest.mark.parametrize("also", [[], ["also=pruned"]], ids=["dense", "pruned"])
def test_a_core_ml_package_is_held_to_its_precision_or_to_its_pruning_and_is_audited_last(precision, also):
    overrides = ["target=coreml", f"precision={precision}", *also, "stages.compile.deployment_target=iOS18"]
    built = {n.name: n for n in nodes(*overrides)}
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
    problems_found = stage("quantize", *four, "stages.compile.deployment_target=iOS17").problems()
    assert {p.command for p in problems_found} == {"stages.compile.deployment_target=iOS18"}


def test_the_functions_of_a_package_are_joined_before_it_is_saved():
    *_, combine, check, save = nodes("target=coreml", "precision=palette4", "also=multifunction")
    assert (combine.name, check.name, save.inputs["artifact"]) == ("combine", "check_combine", "check_combine")
    assert vars(check.stage.tolerance) == shipped("palette4")


# Without what COMBINATIONS leaves out.
MEASURED = [
    (target, model)
    for target, model in itertools.product(TARGETS, [*CAPTURES, "onnx_file"])
    if (target, model) != ("coreml", "onnx_file")
]


@pytest.mark.parametrize(("target", "model"), slow_but(in_singles(MEASURED), MEASURED))
def test_a_benchmark_measures_what_is_delivered_and_changes_nothing_else(target, model):
    overrides = model_overrides("onnx_file") if model == "onnx_file" else [f"capture={model}"]
    *plain, save = nodes(*overrides, f"target={target}")
    *same, benchmark, after = nodes(*overrides, f"target={target}", "also=benchmark")
    assert (same, after.stage) == (plain, save.stage)
    expected = {**save.inputs, "reference": "reference"}
    assert benchmark.inputs == (expected if model == "onnx_file" else {**expected, "module": "eval"})


def test_both_can_be_done_besides_and_each_feeds_on_what_it_is_about():
    built = {node.name: node for node in nodes("also=[benchmark,torch_compile]", "precision=bf16")}
    benchmark, check = built["benchmark"], built["check_torch_compile"]
    assert benchmark.inputs["artifact"] == "audit"
    assert check.inputs == {"artifact": "eval", "reference": "reference"}
    assert (check.stage.compute, benchmark.stage.compute) == ("bfloat16", "bfloat16")
    assert check.stage.tolerance.max_rel == stage("check_compile", "precision=bf16").tolerance.max_rel
    (benchmark,) = (node for node in nodes("also=[torch_compile,benchmark]") if node.name == "benchmark")
    assert benchmark.inputs["artifact"] == "audit"


@pytest.mark.parametrize(("target", "precision"), slow_but(in_singles(REACHED), REACHED))
def test_an_artifact_is_measured_computing_in_what_it_was_checked_in(target, precision):
    built = {n.name: n for n in nodes(*fitting(target, precision), "also=benchmark")}
    *_, checked = (n.stage for n in built.values() if n.name.startswith("check_"))
    by_precision = {"fp16": "float16"} if target in ("onnx", "coreml", *OF_TENSORRT) else {}
    by_precision["bf16"] = "bfloat16"
    expected = by_precision.get(precision, "float32")
    assert (built["benchmark"].stage.compute, checked.compute) == (expected, expected)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds_a_graph_and_pins_its_choices(name):
    built = nodes(f"experiment={name}")
    assert built[-1].kind == Kind.DELIVERY
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
        match=r"stages\.check_export takes coreml or .* or onnx or .* as its 'artifact', and no stage",
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
    assert getattr(stage("reference", *model_overrides("onnx_file"), f"model.{key}={value}"), key)


def test_the_sizes_of_a_file_enter_where_it_is_opened_and_reach_its_reference_with_it():
    built = {
        n.name: n.stage for n in nodes(*model_overrides("onnx_file"), "+model.dims.batch={min: 1, opt: 2, max: 16}")
    }
    assert (built["export"].dims["batch"].max, built["reference"].dims) == (16, None)


def test_those_of_another_frameworks_file_do_too():
    overrides = ["+model.dims.image_dim0={min: 1, opt: 2, max: 16}", '+model.names.image="serving_default_image:0"']
    built = {n.name: n.stage for n in nodes(*model_overrides("file"), *overrides)}
    assert (built["open"].dims["image_dim0"].max, built["reference"].dims) == (16, None)
    assert (built["open"].path, built["open"].names) == ("net.tflite", {"image": "serving_default_image:0"})


def test_no_onnx_graph_is_made_of_another_frameworks_file():
    with pytest.raises(ConfigCompositionException, match="model=file does not go with target=onnx"):
        nodes(*model_overrides("file"), "target=onnx")


def test_one_seed_reaches_weights_and_inputs():
    built = {n.name: n.stage for n in nodes("seed=7")}
    assert {built[name].seed for name in ("load", "reference")} == {7}


@pytest.mark.parametrize("outputs", ["[]", "[1]", "[a, {b: c}]"])
def test_outputs_that_are_neither_names_nor_paths_are_a_problem_before_any_work(outputs):
    (problem,) = stage("reference", f"model.outputs={outputs}").problems()
    assert problem.what.startswith("outputs is ")


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
    overrides = composed(translations.EXAMPLE.strip("'"))
    assert overrides.stages.export.translations == {"my_ns::my_op": "my_pkg.onnx_ops.my_op"}


BESIDES = ["image", "compiled", "benchmark", "torch_compile", "[image,compiled,benchmark]"]
# Not photographs with int8: its samples are what a model takes.
IRS = [(p, a, r) for p, a, r in itertools.product(OF_IR, BESIDES, ROUTES) if p != "int8" or "image" not in a]


@pytest.mark.parametrize(("precision", "also", "route"), slow_but(in_singles(IRS), IRS))
def test_whatever_else_is_wanted_of_an_ir_goes_with_every_precision_and_route(precision, also, route):
    built = nodes(f"precision={precision}", f"also={also}", f"route={route}")
    assert ("check_blob" in [n.name for n in built]) == ("compiled" in also)
    assert [p for n in built for p in n.stage.problems()] == []


def test_operations_of_ones_own_reach_what_openvino_runs_and_nothing_else():
    overrides = ["target.extensions=[my_pkg.rule]", "also=[compiled,benchmark]"]
    extensions = {n.name: n.stage.extensions for n in nodes(*overrides) if hasattr(n.stage, "extensions")}
    expected = {"compile", "check_compile", "audit", "blob", "check_blob", "benchmark"}
    assert {n for n, e in extensions.items() if e} == expected


def test_they_reach_what_lowers_an_ir_and_measures_its_accuracy_too():
    overrides = ["target.extensions=[my_pkg.rule]", "precision=int8", "also=evaluate"]
    extensions = {n.name: n.stage.extensions for n in nodes(*overrides) if hasattr(n.stage, "extensions")}
    assert {"quantize", "check_quantize", "audit", "evaluate"} <= {n for n, e in extensions.items() if e}


def test_what_is_made_of_an_ir_may_be_as_far_off_as_the_ir():
    built = {n.name: n.stage for n in nodes("also=[image,compiled]", "route=auto")}
    wide = OmegaConf.to_container(OmegaConf.load(CONF / "tolerance" / "fp32_raw_images.yaml"))
    assert [vars(built[n].tolerance) for n in ("check_compile", "check_blob")] == [wide] * 2


@pytest.mark.parametrize("precision", OF_IR)
def test_an_ir_that_scales_photographs_may_be_further_off_where_its_precision_allows_less(precision):
    if precision != "int8":
        problems_found = stage("check_compile", f"precision={precision}", "also=image", "route=onnx").tolerance
        assert vars(problems_found) == shipped(precision if precision in ("fp16", "bf16") else "fp32_raw_images")


@pytest.mark.parametrize("precision", options("wiring/coreml"))
def test_a_package_that_takes_an_image_is_held_to_what_its_precision_allows(precision):
    overrides = ["target=coreml", f"precision={precision}"]
    with_image, without = stage("check_compile", *overrides, "also=image"), stage("check_compile", *overrides)
    assert with_image.tolerance == without.tolerance
    assert stage("compile", *overrides, "also=image").edits.images.color == "RGB"
    assert stage("reference", *overrides, "also=image").photographs


def test_what_is_made_of_a_lowered_ir_may_be_as_far_off_as_that():
    built = {n.name: n.stage for n in nodes("also=compiled", "precision=int8")}
    assert vars(built["check_blob"].tolerance) == shipped("int8")
    assert vars(built["check_compile"].tolerance) == shipped("fp32")


@pytest.mark.parametrize(
    ("overrides", "what", "command"),
    [
        (["precision=int8", "opset=21"], "int8 at opset 21", "opset=20"),
        (["precision=int8", "opset=12", "capture=trace"], "int8 at opset 12", "opset=13"),
        (["precision=int8_weights", "opset=12", "capture=trace"], "int8_asym weights at opset 12", "opset=13"),
        (["precision=int4_weights", "opset=18"], "int4_sym weights at opset 18", "opset=21"),
        (["precision=int8", "also=accuracy_control", "opset=21"], "int8 at opset 21", "opset=20"),
    ],
)
def test_a_precision_that_a_graph_of_this_opset_cannot_have_is_a_problem_before_any_work(overrides, what, command):
    (problem,) = [p for n in nodes("target=onnx", *overrides) if n.name == "quantize" for p in n.stage.problems()]
    assert problem.what.startswith(what)
    assert problem.command == command


@pytest.mark.parametrize("precision", sorted({*LOWERED} & {*OF_IR}))
def test_an_ir_has_no_opset_that_its_precision_would_depend_on(precision):
    assert stage("quantize", f"precision={precision}", "opset=20").problems() == []


def test_ranges_are_calibrated_on_random_draws_only_where_a_model_says_so_by_name():
    (problem,) = stage("calibration", *model_overrides("custom"), "precision=int8").problems()
    assert problem.what.startswith("samples.source is not set")
    assert stage("calibration", "precision=int8").samples["source"] == "random"
    overrides = stage("calibration", "precision=int8", "model.calibration={source: images, path: photos/}")
    assert (overrides.samples["path"], overrides.problems()) == ("photos/", [])


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        ("resnet50", None),
        ("vit_b_16", "transformer"),
        pytest.param("transformers", "transformer", marks=pytest.mark.slow),
    ],
)
def test_a_model_with_attention_is_quantised_by_the_scheme_for_that(model, scheme):
    for more in ([], ["also=accuracy_control"]):
        assert stage("quantize", *model_overrides(model), "precision=int8", *more).model_type == scheme


def test_accuracy_is_measured_on_what_is_delivered_and_the_module_is_asked_once_for_all():
    built = {
        n.name: n for n in nodes("precision=int8", "also=evaluate", "model.evaluation={source: arrays, path: a.npz}")
    }
    expected = {"artifact": "audit", "answers": "answers", "calibration": "calibration"}
    assert built["evaluate"].inputs == expected
    assert built["answers"].inputs == {"reference": "reference", "module": "eval"}


def test_accuracy_control_takes_the_place_of_plain_quantisation():
    built = {n.name: n for n in nodes("precision=int8", "also=[accuracy_control,evaluate]")}
    expected = {"graph": "check_compile", "samples": "calibration", "answers": "answers"}
    assert built["quantize"].inputs == expected
    assert built["evaluate"].inputs["answers"] == "answers"


def test_a_bundle_has_the_reference_and_what_the_model_says_of_itself():
    overrides = ["stages.save.bundle=true", "model.license=MIT", "model.labels=[cat, dog]"]
    *_, save = nodes(*overrides)
    assert save.inputs == {"artifact": "audit", "reference": "reference"}
    assert (save.stage.license, save.stage.labels) == ("MIT", ["cat", "dog"])
    assert save.stage.preprocessing == stage("reference").preprocessing
    assert nodes()[-1].inputs == {"artifact": "audit"}


def test_blame_reaches_every_check():
    blames = {n.name: n.stage.blame for n in nodes("blame=true", "also=evaluate") if hasattr(n.stage, "blame")}
    assert set(blames) == {"check_export", "check_simplify", "check_compile", "evaluate"}
    assert all(blames.values())
