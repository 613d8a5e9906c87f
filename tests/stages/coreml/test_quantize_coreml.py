"""coreml/quantize_coreml.py: weights of Core ML packages in 8 and 4 bits, checked as they are saved."""

from __future__ import annotations

import pytest
from coreml_stages import check, prune, quantize
from harness import run_stage, tolerance

from stages.formats import graphs

CASES = [
    ("iOS16", {}, {"int8": 38160}),
    ("iOS18", {}, {"int8": 38160}),
    ("iOS16", {"mode": "linear", "dtype": "uint8"}, {"int8": 38160}),
    ("iOS18", {"granularity": "per_tensor"}, {"int8": 38160}),
    # The first convolution's weight has one channel of input, the second's 16.
    ("iOS18", {"granularity": "per_block", "block_size": 32}, {"int8": 33408, "float32": 4752}),
    ("iOS18", {"dtype": "int4", "granularity": "per_block", "block_size": 16}, {"int4": 38016, "float32": 144}),
    ("iOS18", {"dtype": "uint4", "mode": "linear"}, {"int4": 38160}),
]


@pytest.mark.parametrize(("target", "settings", "weights"), CASES, ids=str)
def test_weights_are_stored_as_asked_and_answers_are_within_the_tolerance_that_ships(
    digits, tmp_path, target, settings, weights
):
    compressed = run_stage(quantize(deployment_target=target, **settings), digits.package(target), tmp_path / "made")
    biases = {"float32": 122 + weights.get("float32", 0)}
    assert graphs.read(compressed).weights() == {**weights, **biases}
    assert graphs.read(compressed).operations() == {"float32": 4}
    four = settings.get("dtype", "").endswith("4")
    check(compressed, digits.reference, tmp_path, tolerance("int4_weights" if four else "int8_weights"))


def test_what_remains_of_pruned_weights_is_quantised_jointly(digits, tmp_path):
    pruned = run_stage(prune(), digits.package(), tmp_path / "pruned")
    compressed = run_stage(quantize(joint_compression=True), pruned, tmp_path / "made")
    assert graphs.read(compressed).weights() == {"sparse_int8": 38160, "float32": 122}
    assert (compressed.facts["pruning"], compressed.facts["quantization"]["settings"]["joint_compression"]) == (
        pruned.facts["pruning"],
        True,
    )
    check(compressed, digits.reference, tmp_path, tolerance("pruned"))


LATE = [
    {"dtype": "int4"},
    {"dtype": "uint4"},
    {"granularity": "per_block", "block_size": 32},
    {"joint_compression": True},
]


@pytest.mark.parametrize("settings", LATE, ids=str)
def test_what_a_deployment_target_lacks_is_refused_with_the_lowest_that_has_it(settings):
    (problem,) = quantize(deployment_target="macOS14", **settings).problems()
    assert next(iter(settings)) in problem.what
    assert problem.what.startswith("deployment_target is macOS14, which does not have ")
    assert problem.command == "stages.compile.deployment_target=macOS15"
    assert quantize(deployment_target="macOS15", **settings).problems() == []


WRONG = [
    ({"mode": "linear_symetric"}, "mode is linear_symetric, did you mean 'linear_symmetric'?"),
    ({"dtype": "int3"}, "dtype is int3"),
    ({"granularity": "per_grouped_channel"}, "granularity is per_grouped_channel"),
    ({"granularity": "per_block"}, "block_size is None"),
    ({"granularity": "per_block", "block_size": 0}, "block_size is 0"),
    ({"granularity": "per_block", "block_size": [1, -1]}, "block_size is [1, -1]"),
    ({"granularity": "per_block", "block_size": "32"}, "block_size is 32"),
    ({"block_size": 32}, "block_size is 32, and granularity is per_channel"),
    ({"weight_threshold": -1}, "weight_threshold is -1"),
    ({"deployment_target": "iOS15"}, "deployment_target is iOS15, which does not have compressed weights"),
    ({"deployment_target": "iOS"}, "deployment_target is iOS"),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=[says for _, says in WRONG])
def test_wrong_settings_are_told_before_any_work(settings, says):
    (problem,) = quantize(**settings).problems()
    assert problem.what.startswith(says)
