"""From a config to a stage: typed settings, near matches, and nothing called that was not trusted."""

import sys

import pytest

from pipeline.code import names
from pipeline.config import instantiate
from pipeline.errors import ConfigError
from pipeline.planning import graph

SOURCE = """
from dataclasses import dataclass, field
from pipeline.artifact import Artifact, Kind
from stages.onnx.format import ONNX
from pipeline.stage import Stage

@dataclass(frozen=True)
class Export(Stage):
    opset: int
    half: bool = False
    tolerance: float = 0.5
    names: list[str] = field(default_factory=list)
    kwargs: dict[str, int] = field(default_factory=dict)
    produces = ONNX

    def run(self, inputs, folder):
        raise NotImplementedError

@dataclass(frozen=True)
class Abstract(Stage):
    pass

class NotAStage:
    pass

def function():
    pass

number = 1
"""
TARGET = "dd_acme.export.Export"


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """A package of somebody else's stages."""
    (tmp_path / "dd_acme").mkdir()
    (tmp_path / "dd_acme" / "export.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(instantiate.TRUST, raising=False)
    yield tmp_path / "dd_acme"
    for name in [n for n in sys.modules if n.startswith("dd_acme")]:
        del sys.modules[name]


@pytest.fixture
def trusted(acme, monkeypatch):
    monkeypatch.setenv(instantiate.TRUST, "dd_acme.*")
    return acme


def built(**settings):
    return instantiate.build_stage("stages.export", {"_target_": TARGET, **settings})


def problems(**settings):
    with pytest.raises(ConfigError) as caught:
        built(**settings)
    return [p.what for p in caught.value.problems]


@pytest.mark.usefixtures("acme")
def test_a_target_that_nobody_trusts_is_not_even_imported():
    with pytest.raises(ConfigError, match=f"_target_ {TARGET} is not among the stages") as caught:
        instantiate.find_stage(TARGET)
    assert "DRYDOCK_TRUST='dd_acme.*'" in caught.value.problems[0].command
    assert not [n for n in sys.modules if n.startswith("dd_acme")]


@pytest.mark.parametrize("pattern", ["dd_acme.*", "dd_acme", "dd_acme.export", TARGET, "other.*:dd_acme.export.*", "*"])
def test_what_the_environment_names_is_trusted(acme, monkeypatch, pattern):
    monkeypatch.setenv(instantiate.TRUST, pattern)
    assert instantiate.find_stage(TARGET).__name__ == "Export"


@pytest.mark.parametrize("pattern", ["", ":", "dd_acm", "dd_acm.*", "DD_ACME.*", "stages.*", "dd_acme.exp"])
def test_what_the_environment_does_not_name_is_not_trusted(acme, monkeypatch, pattern):
    monkeypatch.setenv(instantiate.TRUST, pattern)
    with pytest.raises(ConfigError, match="is not among the stages"):
        instantiate.find_stage(TARGET)


def test_an_installed_package_with_an_entry_point_is_trusted_and_its_neighbours_are_not(acme):
    info = acme.parent / "dd_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dd_plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{instantiate.ENTRY_POINTS}]\nacme = dd_acme.export\n")
    assert instantiate.find_stage(TARGET).__name__ == "Export"
    with pytest.raises(ConfigError, match="is not among the stages"):
        instantiate.find_stage("dd_acme.export_more.Export")


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "stagesx.save.Save", "pipeline.cli.main"])
def test_what_is_no_stage_of_ours_is_never_called(target):
    with pytest.raises(ConfigError, match="is not among the stages"):
        instantiate.find_stage(target)


@pytest.mark.parametrize("name", ["NotAStage", "function", "number", "dataclass"])
@pytest.mark.usefixtures("trusted")
def test_what_is_no_stage_is_refused_even_when_it_is_trusted(name):
    with pytest.raises(ConfigError, match=r"is no stage\n.*pipeline.stage.Stage"):
        instantiate.find_stage(f"dd_acme.export.{name}")


@pytest.mark.parametrize(
    "target",
    ["dd_acme.export.Exprot", "dd_acme.absent.Export", "dd_acme.export.Export.opset"],
)
@pytest.mark.usefixtures("trusted")
def test_what_is_not_there_is_told(target):
    with pytest.raises(ConfigError, match="cannot be imported"):
        instantiate.find_stage(target)


@pytest.mark.parametrize("target", ["simplfy", "stages.onnx.simplfy", "stages._simplfy.Simplfy", "Simplfy"])
def test_a_stage_that_does_not_ship_is_told_with_a_near_one(target):
    with pytest.raises(ConfigError, match="there is no stage named 'simplfy', did you mean 'simplify'"):
        instantiate.find_stage(target)


@pytest.mark.parametrize("target", ["stages", "stages.", "", "stages.interface.interface.Dim", "dim"])
def test_what_is_no_stage_of_ours_is_refused(target):
    with pytest.raises(ConfigError, match=r"there is no stage named|is no stage"):
        instantiate.find_stage(target)


@pytest.mark.parametrize(
    "target", ["simplify", "Simplify", "stages.simplify.Simplify", "stages.onnx.simplify.Simplify"]
)
def test_a_stage_of_ours_is_found_by_its_name_and_by_every_path_that_it_had(target):
    assert instantiate.find_stage(target).__name__ == "Simplify"


def test_a_class_of_a_stages_name_that_is_none_does_not_stand_in_its_way(monkeypatch):
    monkeypatch.setattr(names, "homes", lambda name: ["pipeline.planning.graph", "stages.onnx.simplify"])
    monkeypatch.setattr(graph, "Simplify", dict, raising=False)
    assert instantiate.find_stage("simplify").__name__ == "Simplify"


def test_two_stages_of_ours_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(names, "homes", lambda name: ["stages.onnx.simplify", "stages.onnx.simplify"])
    with pytest.raises(ConfigError, match=r"two stages are named simplify: stages\.onnx\.simplify"):
        instantiate.find_stage("simplify")


def test_a_stage_that_is_named_as_one_of_ours_is_refused(trusted):
    (trusted / "theirs.py").write_text("from dd_acme.export import Export\nclass Simplify(Export): ...\n")
    with pytest.raises(ConfigError, match=r"dd_acme.theirs.Simplify is named simplify, as a stage that ships is") as e:
        instantiate.find_stage("dd_acme.theirs.Simplify")
    assert "MySimplify" in e.value.problems[0].command


@pytest.mark.parametrize("source", ["import dd_absent", "1 +", "undefined", "raise RuntimeError('CUDA')"])
def test_a_module_that_breaks_while_it_is_imported_is_the_configs_fault_not_ours(trusted, source):
    (trusted / "broken.py").write_text(source)
    with pytest.raises(ConfigError, match=r"_target_ dd_acme.broken.Stage cannot be imported"):
        instantiate.find_stage("dd_acme.broken.Stage")


@pytest.mark.usefixtures("trusted")
def test_a_target_without_a_module_is_told_even_when_everything_is_trusted(monkeypatch):
    monkeypatch.setenv(instantiate.TRUST, "*")
    with pytest.raises(ConfigError):
        instantiate.find_stage("Export")


@pytest.mark.usefixtures("trusted")
def test_a_stage_is_built_from_typed_settings():
    stage = built(opset=18, half=True, tolerance=1, names=["a"], kwargs={"k": 1}, needs=["load"])
    assert (stage.opset, stage.half, stage.names, stage.kwargs) == (18, True, ["a"], {"k": 1})
    assert type(stage.tolerance) is float
    assert type(stage.names) is list
    assert type(stage.kwargs) is dict


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"opset": "new"}, "stages.export.opset"),
        ({"opset": 17.5}, "stages.export.opset"),
        ({"opset": None}, "stages.export.opset"),
        ({"opset": 18, "half": "maybe"}, "stages.export.half"),
        ({"opset": 18, "tolerance": "small"}, "stages.export.tolerance"),
        ({"opset": 18, "names": "a"}, "stages.export.names"),
        ({"opset": 18, "names": {"a": 1}}, "stages.export.names"),
        ({"opset": 18, "kwargs": {"k": "v"}}, "stages.export.kwargs.k"),
        ({"opset": 18, "kwargs": [1]}, "stages.export.kwargs"),
        ({}, "stages.export.opset"),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_a_wrong_or_missing_value_is_told_with_its_place_in_one_line(settings, place):
    (what,) = problems(**settings)
    assert what.startswith(f"{place}: ")
    assert "\n" not in what


@pytest.mark.usefixtures("trusted")
def test_every_wrong_value_is_told_at_once():
    sentences = problems(opset="new", half="maybe", tolerance="small")
    assert [what.partition(":")[0] for what in sentences] == [
        "stages.export.opset",
        "stages.export.half",
        "stages.export.tolerance",
    ]


@pytest.mark.usefixtures("trusted")
def test_every_unknown_setting_is_told_with_its_near_match():
    assert problems(opest=18, qqq=1) == [
        "stages.export.opest is no setting of Export, did you mean 'opset'?",
        "stages.export.qqq is no setting of Export",
    ]


@pytest.mark.parametrize("target", [{}, {"_target_": None}, {"_target_": 1}, {"_target_": ["os.system"]}])
def test_settings_without_a_target_are_refused(target):
    with pytest.raises(ConfigError, match=r"stages.x has no _target_"):
        instantiate.build_stage("stages.x", {"opset": 1, **target})


@pytest.mark.usefixtures("trusted")
def test_a_nested_target_is_data_and_is_not_called():
    assert problems(opset=18, kwargs={"_target_": "os.system"}) == [
        "stages.export.kwargs._target_: Value 'os.system' of type 'str' could not be converted to Integer"
    ]


@pytest.mark.usefixtures("trusted")
def test_a_stage_that_does_no_work_cannot_be_built():
    with pytest.raises(ConfigError, match="Abstract"):
        instantiate.build_stage("stages.x", {"_target_": "dd_acme.export.Abstract"})
