"""coreml/compression.py: the common behaviour of all ways to compress a Core ML package."""

from __future__ import annotations

from dataclasses import replace

import pytest
from coreml_stages import palettize, prune, quantize
from harness import contents, run_stage, world

from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.checking.audit import Audit
from stages.coreml import package
from stages.formats import graphs
from stages.formats.ignored import Ignored

WAYS = {"quantize": quantize, "palettize": lambda **k: palettize(mode="uniform", **k), "prune": prune}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def test_facts_tell_every_setting_and_are_in_the_package(digits, tmp_path):
    compressed = run_stage(quantize(), digits.package(), tmp_path / "made")
    settings = {"mode": "linear_symmetric", "dtype": "int8", "granularity": "per_channel", "weight_threshold": 0}
    says = "int8 weights, per_channel"
    description = {"settings": {**settings, "joint_compression": False}, "weights": says, "says": says}
    assert compressed.facts["quantization"] == description
    metadata = package.spec_of(compressed.file).description.metadata.userDefined
    assert '"dtype": "int8"' in metadata["drydock.quantization"]
    assert metadata["drydock.deployment_target"] == "iOS18"
    assert not [key for key in metadata if "date" in key]


def test_the_sizes_before_and_after_are_told(digits, way, tmp_path):
    compressed = run_stage(way(), digits.package(), tmp_path / "made")
    before, after = package.size(digits.package().file), package.size(compressed.file)
    assert (compressed.notes["bytes_before"], compressed.notes["bytes"]) == (before, after)
    assert compressed.notes["says"].endswith(f"; {after / before:.2f} of the size before")


def test_two_runs_are_the_same_bytes(digits, way, tmp_path):
    first, again = (run_stage(way(), digits.package(), tmp_path / n) for n in ("first", "again"))
    assert contents(first.folder) == contents(again.folder)


def test_where_nothing_is_compressed_that_is_a_failure(digits, way, tmp_path):
    with pytest.raises(StageError, match="no weight of this package was compressed") as caught:
        way(weight_threshold=10**6).run({"package": digits.package()}, tmp_path)
    assert "weights of more than 1000000 numbers" in caught.value.problems[0].allowed


def test_weights_that_are_compressed_already_are_not_lowered_without_joint_compression(digits, tmp_path):
    pruned = run_stage(prune(), digits.package(), tmp_path / "pruned")
    with pytest.raises(StageError, match="no weight of this package was compressed"):
        quantize().run({"package": pruned}, tmp_path)


def test_a_package_that_would_grow_is_refused(digits, tmp_path):
    with pytest.raises(StageError, match=r"makes this package larger: \d+ bytes, from \d+"):
        palettize(mode="unique", nbits=None).run({"package": digits.package()}, tmp_path)


def test_operations_left_alone_by_type_name_and_pattern_keep_their_weights(digits, tmp_path):
    by_type = run_stage(quantize(ignored=Ignored([], [], ["conv"])), digits.package(), tmp_path / "type")
    assert graphs.read(by_type).weights() == {"int8": 33408, "float32": 4874}
    names = {node.type: n for n, node in graphs.read(digits.package()).nodes.items()}  # the last of each type
    ignored = Ignored([names["linear"]], [f"{names['conv']}()"], [])
    by_name = run_stage(quantize(ignored=ignored), digits.package(), tmp_path / "name")
    assert graphs.read(by_name).weights() == {"int8": 32768 + 144, "float32": 122 + 640 + 4608}
    assert by_name.notes["says"].endswith("; 2 operations left alone")


def test_what_is_to_be_left_alone_and_is_not_there_is_told_with_what_is_near(digits, tmp_path):
    with pytest.raises(ConfigError, match=r"ignored\.types has linea, did you mean 'linear'"):
        quantize(ignored=Ignored([], [], ["linea"])).run({"package": digits.package()}, tmp_path)


def test_a_package_for_systems_that_lack_it_is_refused_whatever_the_setting_says(digits, tmp_path):
    with pytest.raises(StageError, match="deployment_target is iOS16, which does not have dtype=int4"):
        quantize(dtype="int4", deployment_target="iOS18").run({"package": digits.package("iOS16")}, tmp_path)


def test_the_deployment_target_is_no_part_of_the_key_and_other_settings_are(way, tmp_path):
    here, plain = world(tmp_path), way()
    assert way(deployment_target="iOS26").identity(here) == plain.identity(here)
    assert replace(plain, weight_threshold=1).identity(here) != plain.identity(here)


def test_the_audit_counts_what_is_left_of_pruned_weights_as_what_it_is(digits, tmp_path):
    pruned = run_stage(prune(), digits.package(), tmp_path / "pruned")
    compressed = run_stage(quantize(joint_compression=True), pruned, tmp_path / "made")
    audited = run_stage(Audit({"int8": 0.9, "sparse_int8": 0.9}, {"float32": 1.0}, []), compressed, tmp_path / "audit")
    assert audited.notes["says"] == "weights sparse_int8 99.7%, float32 0.3%; operations float32 100.0%"
    with pytest.raises(CheckFailed, match=r"0.0% of its weights are palette4, at least 90% were asked for"):
        Audit({"palette4": 0.9}, {}, []).run({"artifact": compressed}, tmp_path)
