"""coreml/combine_coreml.py: several functions in a package, with the weights that they share stored once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from coreml_stages import check, prune
from harness import contents, run_stage, tolerance, world

from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.coreml import package as package_files
from stages.coreml.combine_coreml import CombineCoreml
from stages.coreml.mil import evaluate, read
from stages.reference import cases as reference_cases


def combine(functions: dict[str, Path], name: str = "main", target: str = "iOS18") -> CombineCoreml:
    return CombineCoreml(name, {n: str(path) for n, path in functions.items()}, target)


@pytest.fixture(scope="module")
def pruned(digits, tmp_path_factory):
    """The same network with some of its weights pruned: the head and the convolutions are shared."""
    stage = prune(weight_threshold=10_000)
    return run_stage(stage, digits.package(), tmp_path_factory.mktemp("pruned") / "made")


@pytest.fixture(scope="module")
def both(digits, pruned, tmp_path_factory):
    stage = combine({"half": pruned.file}, "whole")
    return run_stage(stage, digits.package(), tmp_path_factory.mktemp("both") / "made")


def test_each_function_answers_as_the_package_that_it_came_from(digits, pruned, both):
    joined = read.read(both.file)
    assert (sorted(joined.functions), joined.default) == (["half", "whole"], "whole")
    for case in reference_cases.read(digits.reference):
        for name, package in (("whole", digits.package()), ("half", pruned)):
            expected = evaluate.evaluate(read.read(package.file), case.inputs)["scores"]
            np.testing.assert_array_equal(evaluate.evaluate(joined, case.inputs, name)["scores"], expected)


def test_each_function_can_be_checked(digits, both, tmp_path):
    exact = tolerance("fp32")
    assert check(both, digits.reference, tmp_path / "a", exact)["properties"]["function_name"] == "whole"
    half = check(both, digits.reference, tmp_path / "b", tolerance("pruned"), function_name="half")
    assert half["properties"]["function_name"] == "half"
    with pytest.raises(CheckFailed):
        check(both, digits.reference, tmp_path / "c", exact, function_name="half")
    with pytest.raises(StageError, match="has no function 'quarter'"):
        check(both, digits.reference, tmp_path / "d", exact, function_name="quarter")


def test_weights_that_are_equal_are_stored_once(digits, tmp_path):
    weights = digits.package().file / package_files.BLOB
    joined = run_stage(combine({"twin": digits.package().file}), digits.package(), tmp_path / "made")
    assert (joined.file / package_files.BLOB).stat().st_size == weights.stat().st_size
    assert joined.notes["says"] == "functions main, twin; 0.51 of their packages' size"


def test_metadata_and_facts_are_the_artifacts_and_tell_the_functions(digits, both):
    metadata = package_files.spec_of(both.file).description.metadata.userDefined
    assert metadata["drydock.deployment_target"] == "iOS18"
    assert metadata["drydock.functions"] == '["whole", "half"]'
    assert both.facts == {**digits.package().facts, "functions": ["whole", "half"]}


def test_two_runs_are_the_same_bytes(digits, pruned, both, tmp_path):
    again = run_stage(combine({"half": pruned.file}, "whole"), digits.package(), tmp_path / "again")
    assert contents(again.folder) == contents(both.folder)


def test_what_the_packages_hold_is_part_of_the_key_and_where_they_are_is_not(pruned, digits, tmp_path):
    here = world(tmp_path)
    moved = shutil.copytree(pruned.file, tmp_path / "moved.mlpackage")
    plain = combine({"half": pruned.file})
    assert combine({"half": moved}).identity(here) == plain.identity(here)
    assert combine({"half": digits.package().file}).identity(here) != plain.identity(here)
    assert combine({"third": pruned.file}).identity(here) != plain.identity(here)
    assert plain.files() == {str(pruned.file)}


def test_a_path_without_a_package_is_told_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"functions\.half is .*nowhere, where there is no package"):
        combine({"half": tmp_path / "nowhere"}).settle(world(tmp_path))


def test_a_damaged_package_is_told_by_its_name(digits, tmp_path):
    model = tmp_path / "half.mlpackage" / package_files.MODEL
    model.parent.mkdir(parents=True)
    model.write_bytes(b"\x12\x7fshort")
    with pytest.raises(StageError, match=r"half\.mlpackage is damaged: .*model\.mlmodel cannot be read"):
        combine({"half": tmp_path / "half.mlpackage"}).run({"package": digits.package()}, tmp_path)


def test_packages_for_systems_without_functions_are_refused(digits, tmp_path):
    stage = combine({"half": digits.package().file})
    with pytest.raises(StageError, match="is iOS16, which does not have several functions in a package"):
        stage.run({"package": digits.package("iOS16")}, tmp_path)


def test_a_package_for_later_systems_than_the_artifact_is_refused(digits, tmp_path):
    stage = combine({"late": digits.package("iOS26").file})
    with pytest.raises(StageError, match="functions late take later systems than this artifact, which is for iOS18"):
        stage.run({"package": digits.package()}, tmp_path)


WRONG = [
    (combine({}), "functions names no package"),
    (combine({"main": Path("a")}), "functions has 'main', which is the artifact's own"),
    (combine({"1st": Path("a")}), "a function is called '1st'"),
    (combine({"half": Path("a")}, "main function"), "a function is called 'main function'"),
    (
        combine({"half": Path("a")}, target="iOS17"),
        "deployment_target is iOS17, which does not have several functions in a package",
    ),
]


@pytest.mark.parametrize(("stage", "says"), WRONG, ids=[says for _, says in WRONG])
def test_wrong_settings_are_told_before_any_work(stage, says):
    (problem,) = stage.problems()
    assert problem.what.startswith(says)
