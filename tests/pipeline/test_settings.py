"""Settings that answer for themselves: a stage asks its fields, groups of them and mappings of groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest
from omegaconf import OmegaConf

from pipeline.artifact import Artifact
from pipeline.config.instantiate import build_stage
from pipeline.errors import ConfigError, Problem
from pipeline.machine.world import ThisMachine
from pipeline.stage import AtLeast, FilePath, Requires, Setting, Settings, Stage, Unkeyed, World, digest_of
from stages.onnx.format import ONNX


class Words(Setting):
    """A file of words, which counts by what it holds."""

    def problems(self, name: str, value: str) -> list[Problem]:
        return [] if value.endswith(".txt") else [Problem(f"{name} is {value}", allowed="a .txt file")]

    def modules(self, value: str) -> list[str]:
        return ["json"]

    def files(self, value: str) -> list[str]:
        return [value]

    def identity(self, name: str, value: str, world: World) -> Any:
        return {"sha256": digest_of(Path(value), world, f"{name}={value}")}


@dataclass
class Limits(Settings):
    most: Annotated[int, AtLeast(1)]
    words: Annotated[Optional[str], Words()]  # noqa: UP045
    least: int = 0

    def conflicts(self) -> list[Problem]:
        return [Problem(f"least is {self.least}, and most {self.most}")] if self.least > self.most else []


@dataclass(frozen=True)
class Count(Stage):
    words: Annotated[str, Words()]
    limits: Limits
    by_name: dict[str, Limits]
    log: Annotated[Optional[str], FilePath()]  # noqa: UP045
    threads: Annotated[int, Unkeyed()]
    how: Annotated[str, Requires({"regex": ("re",)})]
    spare: Optional[Annotated[int, AtLeast(0)]]  # noqa: UP045

    produces = ONNX
    requires = ("os",)

    def unused(self) -> tuple[str, ...]:
        return ("limits",) if self.how == "all" else ()

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        raise NotImplementedError


class Native(Count):
    native_to = ("processor", "cores")


@pytest.fixture
def stage(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    words = str(tmp_path / "a.txt")
    return Count(words, Limits(5, None), {"x": Limits(5, str(tmp_path / "b.txt"))}, "/tmp/log", 4, "regex", None)


@pytest.fixture
def world(tmp_path):
    return ThisMachine(tmp_path / "facts", may_fetch=False)


WRONG = {
    "words is a.csv": {"words": "a.csv"},
    "limits.most is 0": {"limits": Limits(0, None)},
    "limits.least is 9, and most 5": {"limits": Limits(5, None, 9)},
    "by_name.y.words is z": {"by_name": {"y": Limits(5, "z")}},
    "spare is -1": {"spare": -1},
}


@pytest.mark.parametrize(("what", "settings"), WRONG.items(), ids=WRONG)
def test_a_wrong_setting_is_told_with_its_place_wherever_it_stands(stage, what, settings):
    assert [p.what for p in replace(stage, **settings).problems()] == [what]


def test_everything_wrong_is_told_at_once(stage):
    settings = {name: value for wrong in WRONG.values() for name, value in wrong.items()}
    assert len(replace(stage, **settings).problems()) == 4


def test_what_is_left_out_is_not_asked_about(stage, world):
    assert stage.problems() == []
    assert stage.identity(world)["spare"] is None


def test_a_setting_that_must_be_there_is_asked_about_none_too():
    class Present(Setting):
        required = True

        def problems(self, name: str, value: Any) -> list[Problem]:
            return [Problem(f"{name} is null")] if value is None else []

    @dataclass
    class Group(Settings):
        __annotations__ = {"one": Annotated[Any, Present()]}

    assert [p.what for p in Group(None).problems()] == ["one is null"]


def test_files_are_those_of_all_settings_as_they_are_written(stage, tmp_path):
    assert stage.files() == {str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "/tmp/log"}


def test_modules_are_the_stages_own_and_what_its_settings_require(stage):
    assert stage.modules({}) == ("os", "json", "re")
    assert "json" in replace(stage, words=None).modules({})  # of the words within a group
    assert replace(stage, how="all").modules({}) == ("os", "json")


def test_a_key_holds_what_files_hold_and_never_where_they_are(stage, world, tmp_path):
    moved = (tmp_path / "a.txt").rename(tmp_path / "moved.txt")
    before = stage.by_name["x"].identity(world)
    identity = replace(stage, words=str(moved)).identity(world)
    assert str(tmp_path) not in str(identity)
    assert identity["by_name"]["x"] == before
    moved.write_text("other")
    assert replace(stage, words=str(moved)).identity(world)["words"] != identity["words"]


def test_what_decides_no_result_is_no_part_of_the_key(stage, world):
    assert {"log", "threads"} & stage.identity(world).keys() == set()


def test_what_others_leave_without_a_use_is_null_in_the_key_and_not_looked_up(stage, world):
    idle = replace(stage, how="all", limits=Limits(5, "gone.txt"))
    assert idle.settle(world).identity(world)["limits"] is None
    assert "gone.txt" not in idle.files()


def test_what_is_not_there_is_told_with_every_place(stage, world):
    gone = replace(stage, words="gone.txt", by_name={"x": Limits(5, "lost.txt")})
    with pytest.raises(ConfigError) as caught:
        gone.settle(world)
    assert [p.what.partition(" cannot")[0] for p in caught.value.problems] == [
        "words=gone.txt",
        "by_name.x.words=lost.txt",
    ]


def test_a_value_may_be_settled_into_another(stage, world):
    class Doubled(Setting):
        def settle(self, name: str, value: int, world: World) -> int:
            return 2 * value

    @dataclass
    class Group(Settings):
        __annotations__ = {"one": Annotated[int, Doubled()]}

    assert Group(3).settle(world) == Group(6)


def test_a_result_that_is_native_to_a_machine_has_that_in_its_key(stage, world):
    native = Native(**vars(stage)).identity(world)
    assert native == {**stage.identity(world), "processor": dict(world.processor()), "cores": world.cores()}


def test_a_yaml_has_plain_values_and_their_types_are_checked(stage):
    settings = {"_target_": "stages.onnx.export_onnx.ExportOnnx", "opset": 18, "translations": {}, "keep_source": False}
    assert build_stage("stages.export", settings).problems() == []
    with pytest.raises(ConfigError, match="could not be converted to Integer"):
        build_stage("stages.export", {**settings, "opset": "new"})
    assert OmegaConf.to_container(OmegaConf.structured(Limits(5, None))) == {"most": 5, "words": None, "least": 0}
