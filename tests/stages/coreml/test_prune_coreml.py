"""coreml/prune_coreml.py: weights of Core ML packages set to zero, checked as they are saved."""

from __future__ import annotations

import numpy as np
import pytest
from coreml_stages import check, prune, quantize
from harness import run_stage, tolerance

from stages.coreml.mil import evaluate, read
from stages.formats import graphs
from stages.portable.comparison import Tolerance

RATIO = {"target_sparsity": None, "n_m_ratio": [2, 4]}
SMALL = {"target_sparsity": None, "threshold": 0.02, "minimum_sparsity_percentile": 0.2}
CASES = [
    ("iOS16", {}, {"sparse_float32": 38160}),
    ("iOS18", {}, {"sparse_float32": 38160}),
    # The first convolution has one channel of input, which is no four.
    ("iOS18", RATIO, {"sparse_float32": 38016, "float32": 144}),
    ("iOS18", {"block_size": 2}, {"sparse_float32": 38160}),
    # Of the other weights fewer than a fifth are so small.
    ("iOS18", SMALL, {"sparse_float32": 32768, "float32": 5392}),
]
# Zeros in places that are given cost more than those of the smallest weights, which the shipped tolerance is for.
STRUCTURED = Tolerance(0.8, 0.8, 0.8, 0.0)


def dense(package):
    """The weights of the first layer with 64 rows, decompressed by the evaluator."""
    main = read.read(package.file).functions["main"]
    (op,) = (
        o for o in main.block.operations if o.type == "constexpr_sparse_to_dense" and o.outputs[0][1].shape == (64, 512)
    )
    return np.asarray(evaluate._results(op, {}, main)[0])


@pytest.mark.parametrize(("target", "settings", "weights"), CASES, ids=str)
def test_weights_are_stored_as_asked_and_answers_are_within_the_tolerance_that_ships(
    digits, tmp_path, target, settings, weights
):
    pruned = run_stage(prune(deployment_target=target, **settings), digits.package(target), tmp_path / "made")
    assert graphs.read(pruned).weights() == {**weights, "float32": 122 + weights.get("float32", 0)}
    structured = settings == RATIO or "block_size" in settings
    check(pruned, digits.reference, tmp_path, STRUCTURED if structured else tolerance("pruned"))


def test_the_share_that_was_asked_for_is_zero(digits, tmp_path):
    half, most = (
        dense(run_stage(prune(target_sparsity=share), digits.package(), tmp_path / str(share))) for share in (0.5, 0.75)
    )
    assert [(w == 0).mean() for w in (half, most)] == [0.5, 0.75]
    assert np.abs(half[half != 0]).min() < np.abs(most[most != 0]).min()


def test_of_every_four_the_two_smallest_are_zero(digits, tmp_path):
    weight = dense(run_stage(prune(**RATIO), digits.package(), tmp_path / "made"))
    assert ((weight.reshape(-1, 4) == 0).sum(1) == 2).all()


def test_quantised_weights_can_be_pruned_too(digits, tmp_path):
    lowered = run_stage(quantize(), digits.package(), tmp_path / "lowered")
    pruned = run_stage(prune(joint_compression=True), lowered, tmp_path / "made")
    assert graphs.read(pruned).weights() == {"sparse_int8": 38160, "float32": 122}
    check(pruned, digits.reference, tmp_path, tolerance("pruned"))


WRONG = [
    ({"target_sparsity": None}, "no setting says which weights become zero"),
    ({"n_m_ratio": [2, 4]}, "target_sparsity and n_m_ratio are set"),
    ({"target_sparsity": 1.5}, "target_sparsity is 1.5"),
    ({"target_sparsity": -0.1}, "target_sparsity is -0.1"),
    ({"block_size": 1}, "block_size is 1"),
    ({**RATIO, "block_size": 2}, "block_size is 2 without target_sparsity"),
    ({**RATIO, "n_m_ratio": [4, 2]}, "n_m_ratio is [4, 2]"),
    ({**RATIO, "n_m_ratio": [4]}, "n_m_ratio is [4]"),
    ({**RATIO, "dim": 2}, "dim is 2"),
    ({"dim": 0}, "dim is 0 without block_size or n_m_ratio"),
    ({**SMALL, "threshold": -0.1}, "threshold is -0.1"),
    ({**SMALL, "minimum_sparsity_percentile": None}, "minimum_sparsity_percentile is null, threshold 0.02"),
    ({"minimum_sparsity_percentile": 0.5}, "minimum_sparsity_percentile is 0.5, threshold null"),
    ({"weight_threshold": -1}, "weight_threshold is -1"),
    (
        {"joint_compression": True, "deployment_target": "iOS17"},
        "deployment_target is iOS17, which does not have joint_compression=true",
    ),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=[says for _, says in WRONG])
def test_wrong_settings_are_told_before_any_work(settings, says):
    (problem,) = prune(**settings).problems()
    assert problem.what.startswith(says)
