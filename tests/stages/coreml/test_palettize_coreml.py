"""coreml/palettize_coreml.py: weights of Core ML packages from tables, checked as they are saved."""

from __future__ import annotations

import pytest
from coreml_stages import check, palettize, prune
from harness import contents, run_stage, tolerance

from pipeline.errors import StageError
from stages.formats import graphs

GROUPED = {"granularity": "per_grouped_channel", "group_size": 8}
CASES = [
    ("iOS16", {"nbits": 4}, {"palette4": 38160}, "palette4"),
    ("iOS16", {"nbits": 6}, {"palette6": 38160}, "palette6"),
    ("iOS18", {"nbits": 6, "mode": "uniform"}, {"palette6": 38160}, "palette4"),
    ("iOS18", {"nbits": 8, "mode": "uniform"}, {"palette8": 38160}, "palette8"),
    # The last layer has 10 rows, which are no groups of 8.
    ("iOS18", {"nbits": 4, **GROUPED}, {"palette4": 37520, "float32": 640}, "palette4"),
]


@pytest.mark.parametrize(("target", "settings", "weights", "limits"), CASES, ids=str)
def test_weights_are_stored_as_asked_and_answers_are_within_the_tolerance_that_ships(
    digits, tmp_path, target, settings, weights, limits
):
    compressed = run_stage(palettize(deployment_target=target, **settings), digits.package(target), tmp_path / "made")
    assert graphs.read(compressed).weights() == {**weights, "float32": 122 + weights.get("float32", 0)}
    check(compressed, digits.reference, tmp_path, tolerance(limits))


@pytest.mark.parametrize("settings", [{"nbits": 1}, {"nbits": 2}, {"nbits": 3}, {"cluster_dim": 2}], ids=str)
def test_fewer_bits_and_tables_of_several_numbers_are_stored_as_such(digits, tmp_path, settings):
    compressed = run_stage(palettize(**settings), digits.package(), tmp_path / "made")
    bits = settings.get("nbits", 4)
    assert graphs.read(compressed).weights() == {f"palette{bits}": 38160, "float32": 122}


def test_two_runs_are_the_same_bytes(digits, tmp_path):
    """k-means starts at random points, and sums of several threads differ in the last bits."""
    first, again = (
        run_stage(palettize(nbits=4, **GROUPED), digits.package(), tmp_path / n) for n in ("first", "again")
    )
    assert contents(first.folder) == contents(again.folder)


def test_values_that_are_few_already_need_no_more_than_their_table(digits, tmp_path):
    few = run_stage(palettize(nbits=2), digits.package(), tmp_path / "few")
    with pytest.raises(StageError, match="no weight of this package was compressed"):
        palettize(mode="unique", nbits=None).run({"package": few}, tmp_path)


def test_what_remains_of_pruned_weights_is_palettised_jointly(digits, tmp_path):
    pruned = run_stage(prune(), digits.package(), tmp_path / "pruned")
    compressed = run_stage(palettize(nbits=4, joint_compression=True), pruned, tmp_path / "made")
    assert graphs.read(compressed).weights() == {"sparse_palette4": 38160, "float32": 122}
    check(compressed, digits.reference, tmp_path, tolerance("pruned"))


LATE = [{"nbits": 3}, GROUPED, {"cluster_dim": 2}, {"enable_per_channel_scale": True}, {"joint_compression": True}]


@pytest.mark.parametrize("settings", LATE, ids=str)
def test_what_a_deployment_target_lacks_is_refused_with_the_lowest_that_has_it(settings):
    (problem,) = palettize(deployment_target="iOS17", **settings).problems()
    assert next(iter(settings)) in problem.what
    assert problem.command == "stages.compile.deployment_target=iOS18"
    assert palettize(**settings).problems() == []


WRONG = [
    ({"mode": "kmean"}, "mode is kmean, did you mean 'kmeans'?"),
    ({"nbits": 5}, "nbits is 5"),
    ({"nbits": None}, "nbits is None"),
    ({"mode": "unique"}, "nbits is 4, and mode is unique"),
    ({"granularity": "per_channel"}, "granularity is per_channel"),
    ({"granularity": "per_grouped_channel"}, "group_size is None"),
    ({"group_size": 8}, "group_size is 8, and granularity is per_tensor"),
    ({"channel_axis": 0}, "channel_axis is 0, and granularity is per_tensor"),
    ({"cluster_dim": 0}, "cluster_dim is 0"),
    ({"cluster_dim": 2, "mode": "uniform"}, "cluster_dim is 2, and mode is uniform"),
    ({"weight_threshold": -1}, "weight_threshold is -1"),
]


@pytest.mark.parametrize(("settings", "says"), WRONG, ids=[says for _, says in WRONG])
def test_wrong_settings_are_told_before_any_work(settings, says):
    (problem,) = palettize(**settings).problems()
    assert problem.what.startswith(says)


def test_only_kmeans_takes_scikit_learn():
    assert "sklearn" in palettize().modules({})
    assert "sklearn" not in palettize(mode="uniform").modules({})
