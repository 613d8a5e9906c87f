"""conf/stage/: every setting of every stage has a type, and what is not of it is refused while composing."""

from __future__ import annotations

from dataclasses import fields

import pytest
from compositions import CAPTURES, ROUTES, composed, model_overrides
from hydra.errors import ConfigCompositionException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ConfigTypeError, ValidationError

from stages.tensorrt.settings import EngineSettings

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
    "eval": {"part": "[1]"},
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
        "effort": "[1]",
        "count": "many",
    },
    "open": {"path": "[1]", "sha256": "[1]", "names": "3", "inputs": "3", "dims": "[1]", "extensions": "3"},
    "capture": {"graph_opset": "eighteen", "store_up_to": "much"},
    "simplify": {"weightless_above": "much", "tolerance": "3"},
    "export": {
        "opset": "eighteen",
        "translations": "3",
        "symbolics": "3",
        "keep_source": "maybe",
        "weights": "[1]",
        "sha256": "[1]",
        "inputs": "3",
        "dims": "[1]",
    },
    "cast": {"ignored": "3", "wide": "3"},
    "cast.ignored": {"names": "Softmax", "patterns": "Softmax", "types": "Softmax"},
    "check_export": {"compute": "[1]", "properties": "3", "extensions": "3", "tolerance": "3", "blame": "maybe"},
    "check_export.tolerance": {
        "max_rel": "tiny",
        "p99_rel": "[1]",
        "cosine": "none",
        "top1": "{a: 1}",
        "differing": "few",
        "noise": "loud",
        "families": "[1]",
    },
    "compile": {
        "storage": "{a: 1}",
        "edits": "3",
        "preprocessing": "3",
        "extensions": "3",
        "compute": "[1]",
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
    **{place: {"count": "many", "preprocessing": "3", "seed": "one"} for place in ("held_out", "calibration")},
    "quantize": {
        **dict.fromkeys(("preset", "model_type", "target_device", "metric", "mode", "embeddings", "head"), "[1]"),
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
    **{("export", key): model_overrides("onnx_file") for key in ("weights", "sha256", "inputs", "dims")},
    **{
        ("quantize", key): ["precision=int4_weights"]
        for key in ("mode", "group_size", "ratio", "all_layers", "embeddings", "head", "awq", "scale_estimation")
    },
    **{("quantize", key): ["precision=int8", "also=accuracy_control"] for key in ("metric", "max_drop")},
    **{("save", f.name): BUNDLE for f in fields(EngineSettings)},
    ("save", "releases"): BUNDLE,
    **{
        ("compile", key): ["target=coreml"]
        for key in (
            "deployment_target",
            "compute",
            "compute_units",
            "shapes",
            "ignored",
            "sizes",
            "classifier",
            "metadata",
        )
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
    "held_out": ["precision=int8"],
    "calibration": ["precision=int8"],
    "quantize": ["precision=int8"],
    "answers": ["also=evaluate"],
    "evaluate": ["also=evaluate"],
}


def choices_for(place, key=""):
    whole = {**BESIDE, "open": model_overrides("file")}
    return ELSEWHERE.get((place, key)) or whole.get(place.partition(".")[0], [])


def cause_of_refusal(*overrides: str) -> BaseException | None:
    """OmegaConf's error, where Hydra only names the override that it could not merge."""
    with pytest.raises(ConfigCompositionException) as caught:
        composed(*overrides)
    return caught.value.__cause__


@pytest.mark.parametrize(("place", "key", "value"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_while_composing(place, key, value):
    cause = cause_of_refusal(*choices_for(place, key), f"stages.{place}.{key}={value}")
    assert isinstance(cause, ValidationError | ConfigTypeError)
    assert f"stages.{place}.{key}" in str(cause)


@pytest.mark.parametrize(
    "choices",
    [
        model_overrides("file"),
        [*model_overrides("onnx_file"), "target=onnx"],
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
def test_every_setting_of_every_stage_has_a_wrong_value_in_the_table(choices):
    precision = [] if any("precision" in c for c in choices) else ["precision=fp16"]
    settings = composed(*choices, *precision).stages
    typed = {(n, k) for n in settings for k in settings[n] if k not in ("_target_", "needs")}
    typed = {(n, k) for n, k in typed if n in WRONG or not n.startswith("check")}
    # Of any type: the stages say what is wrong.
    typed -= {(place, "samples") for place in ("reference", "held_out", "calibration", "answers")}
    typed -= {("save", "labels")}
    typed -= {("quantize", "block_size"), ("compile", "labels")}
    assert typed <= {(p, k) for p, k, _ in WRONG_TYPES}


@pytest.mark.parametrize("place", [*WRONG, "eval"])
def test_an_unknown_setting_is_refused_while_composing(place):
    cause = cause_of_refusal(*choices_for(place), f"stages.{place}.no_such_setting=1")
    assert isinstance(cause, ConfigKeyError | ConfigAttributeError)
    assert "no_such_setting" in str(cause)


@pytest.mark.parametrize("key", ["modle", "model.wieghts", "precision.sotrage", "opste"])
def test_an_unknown_key_is_refused_while_composing(key):
    cause = cause_of_refusal(f"{key}=1")
    assert isinstance(cause, ConfigKeyError | ConfigAttributeError)
    assert key.rpartition(".")[2] in str(cause)
