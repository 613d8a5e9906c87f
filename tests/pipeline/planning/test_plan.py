"""The plan: what would be done and why, and all errors that can be found before any work."""

import importlib
import importlib.util
import shutil
import sys

import pytest

from pipeline import formats
from pipeline.code import closure
from pipeline.errors import BackendMissing, ConfigError, Problem
from pipeline.formats import Format, Kind
from pipeline.machine import gpu
from pipeline.planning import plan
from pipeline.planning.plan import Todo
from pipeline.stage import CONTRACT
from tests.pipeline.conftest import Check, Compile, Export, Fake, Load, Save, flip


def steps(dock, *, explain=True, damaged=None):
    damaged = set() if damaged is None else damaged
    planned = plan.make(dock.nodes(), dock.store, dock.world, damaged=damaged, explain=explain)
    return {s.name: s for s in planned}


def todo(dock):
    return {name: str(s.todo) for name, s in steps(dock).items()}


def test_an_empty_store_means_that_everything_is_built(dock):
    assert todo(dock) == {
        "load": "miss",
        "record": "miss",
        "export": "miss",
        "tidy": "miss",
        "compile": "miss",
        "save": "deliver",
    }
    assert dock.ran() == []


def test_a_plan_says_what_a_stage_waits_for(dock):
    planned = steps(dock)
    assert (planned["export"].why, planned["tidy"].why, planned["save"].why) == (
        "never built",
        "waits for export",
        "waits for compile",
    )
    assert planned["tidy"].key is None


def test_after_a_run_everything_is_a_hit_and_memory_is_not_needed(dock):
    dock.run()
    assert todo(dock) == {
        "load": "idle",
        "record": "hit",
        "export": "hit",
        "tidy": "hit",
        "compile": "hit",
        "save": "deliver",
    }


def test_a_changed_setting_is_the_reason_that_the_plan_gives(dock):
    dock.run()
    dock.change("export", text="opset 20")
    planned = steps(dock)
    assert (planned["export"].todo, planned["export"].why) == (Todo.BUILD, "settings.text: opset 18 → opset 20")
    assert (planned["load"].todo, planned["record"].todo) == (Todo.BUILD, Todo.HIT)


def test_a_plan_that_is_not_asked_why_does_not_look(dock):
    assert steps(dock, explain=False)["export"].why == ""


def test_a_changed_input_is_told_as_another_input(dock):
    dock.run()
    dock.change("load", text="other net")
    assert steps(dock)["export"].why == "another module"


@pytest.mark.parametrize("name", ["record", "export", "tidy"])
def test_an_evicted_result_that_nothing_needs_stays_away(dock, name):
    dock.run()
    dock.object_of(name).rename(dock.home / "evicted")
    step = steps(dock)[name]
    assert (step.todo, step.why) == (Todo.IDLE, "no longer in the store")
    assert steps(dock)["compile"].todo is Todo.HIT


def test_an_evicted_result_that_something_needs_is_built_with_all_that_it_needs(dock):
    dock.run()
    dock.object_of("export").rename(dock.home / "evicted")
    dock.change("tidy", text="18")
    planned = todo(dock)
    assert (planned["load"], planned["record"], planned["export"], planned["tidy"]) == ("miss", "hit", "miss", "miss")


def test_a_damaged_result_is_built_even_when_nothing_needs_it(dock):
    dock.run()
    flip(dock.object_of("record") / "reference.safetensors")
    step = steps(dock)["record"]
    assert (step.todo, step.why) == (Todo.BUILD, "damaged in the store")


def test_damage_is_remembered_until_it_is_repaired(dock):
    dock.run()
    damaged, recorded = set(), dock.object_of("record")
    whole = shutil.copytree(recorded, dock.home / "whole")
    flip(recorded / "reference.safetensors")
    for _ in range(2):  # the first look sets it aside, the second finds nothing there
        assert steps(dock, damaged=damaged)["record"].todo is Todo.BUILD
    whole.rename(recorded)
    assert steps(dock, damaged=damaged)["record"].todo is Todo.HIT
    recorded.rename(dock.home / "evicted")
    assert steps(dock, damaged=damaged)["record"].todo is Todo.IDLE


def test_what_stands_on_a_check_is_known_before_the_check_has_run(dock):
    dock.stages = {"check": Check(dock.log)} | dock.stages
    dock.needs = {"check": ["tidy", "record"], "tidy": ["export"], "export": ["load"], "record": ["load"]}
    dock.needs["compile"] = ["check"]
    dock.run()
    dock.change("check", text="stricter")
    planned = steps(dock)
    assert (planned["check"].todo, planned["check"].why) == (Todo.BUILD, "settings.text:  → stricter")
    assert (planned["compile"].todo, planned["load"].todo) == (Todo.HIT, Todo.IDLE)


class Wordy(Fake):
    def describe(self):
        return "as small as it gets"


def test_a_hit_is_described_by_its_stage(dock):
    dock.stages = {"export": Wordy(dock.log)}
    dock.run()
    assert steps(dock)["export"].why == "as small as it gets"


def test_a_key_names_the_stage_the_contract_and_its_inputs_but_no_path(dock):
    document = steps(dock)["export"].key_document
    assert (document["stage"], document["contract"]) == ("export", CONTRACT)
    assert document["inputs"] == {"module": steps(dock)["load"].key}
    assert "/" not in str(document)


def test_the_code_of_a_stage_that_is_not_ours_is_part_of_its_key(dock):
    assert set(steps(dock)["export"].key_document["code"]) == {"module", "source"}


def test_the_code_of_a_stage_of_ours_counts_with_the_formats_that_it_meets(dock, monkeypatch):
    monkeypatch.setattr(Check, "__module__", "stages.checking.check")
    dock.stages["check"] = Check(dock.log)
    (node,) = (n for n in dock.nodes() if n.name == "check")
    code = plan.document_of(node, {}, dock.world)["code"]
    assert code == {"stages": closure.digest("stages.checking.check", [*node.kinds.values(), node.kind])}
    assert "stages/openvino/runtime.py" in plan.sources_of(node)
    assert "stages/coreml/runtime.py" not in plan.sources_of(node)


def test_a_stage_that_is_not_ours_counts_with_what_it_uses_of_ours(dock, tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text("from stages.onnx import file\n")
    spec = importlib.util.spec_from_file_location("theirs", tmp_path / "theirs.py")
    monkeypatch.setitem(sys.modules, "theirs", importlib.util.module_from_spec(spec))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(Export, "__module__", "theirs")
    code = steps(dock)["export"].key_document["code"]
    assert code["stages"] == closure.digest_of_file(tmp_path / "theirs.py")
    assert code["module"] == "theirs"


class Needy(Export):
    requires = ("filelock", "no_such_backend")

    def modules(self, kinds):
        return (*self.requires, "another_missing") if "module" in kinds else ()


class Demanding(Compile):
    requires = ("no_such_backend",)


class Wrong(Load):
    def problems(self):
        return [Problem("text is bad"), Problem("log is bad")]


def test_every_missing_library_is_reported_once_with_all_who_need_it(dock):
    dock.stages |= {"export": Needy(dock.log), "compile": Demanding(dock.log)}
    with pytest.raises(BackendMissing) as caught:
        plan.check(dock.nodes())
    assert [(p.what, p.command) for p in caught.value.problems] == [
        ("stages.export, stages.compile: 'no_such_backend' is not installed", "pip install no_such_backend"),
        ("stages.export: 'another_missing' is not installed", "pip install another_missing"),
    ]


class OnAGpu(Compile):
    requires = ("no_such_backend",)
    needs_gpu = True
    otherwise = "target=elsewhere"


def test_a_stage_for_a_gpu_is_refused_where_there_is_none_with_the_other_way_on(dock, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    gpu.describe.cache_clear()
    dock.stages |= {"compile": OnAGpu(dock.log)}
    with pytest.raises(BackendMissing) as caught:
        plan.check(dock.nodes())
    library, device = caught.value.problems
    assert library.command == "pip install no_such_backend; or target=elsewhere"
    assert device.what.startswith("stages.compile: this machine has no NVIDIA GPU that can be used")
    assert device.command.endswith("; or target=elsewhere")


def test_where_no_stage_is_for_a_gpu_nobody_asks_for_one(dock, monkeypatch):
    monkeypatch.setattr(gpu, "describe", lambda: pytest.fail("asked"))
    plan.check(dock.nodes())


class OnAnotherSystem(Compile):
    def lacking(self, kinds):
        return [Problem(f"{kinds['model']} is not run here", command="another system")]


def test_what_a_stage_says_that_this_machine_lacks_is_told_before_any_work(dock):
    dock.stages |= {"compile": OnAnotherSystem(dock.log)}
    with pytest.raises(BackendMissing, match=r"stages\.compile: .* is not run here"):
        plan.check(dock.nodes())


def test_a_library_without_the_parts_that_it_does_without_for_minutes_is_missing(dock, tmp_path, monkeypatch):
    package = tmp_path / "halfway"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "there.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    halfway = Format(native={"halfway": ("there", "_native")})
    monkeypatch.setattr(formats, "all_formats", lambda: {Kind("half"): ("stages.half", halfway)})
    monkeypatch.setattr(Demanding, "requires", ("halfway",))
    dock.stages |= {"compile": Demanding(dock.log)}
    with pytest.raises(BackendMissing, match="'halfway' unknown is installed without its native _native"):
        plan.check(dock.nodes())
    (package / "_native.py").write_text("")
    importlib.invalidate_caches()
    plan.check(dock.nodes())


def test_wrong_settings_come_first_and_missing_libraries_with_them(dock):
    dock.stages |= {"load": Wrong(dock.log), "export": Needy(dock.log)}
    with pytest.raises(ConfigError) as caught:
        plan.check(dock.nodes())
    assert [p.what.partition(" is ")[0] for p in caught.value.problems] == [
        "stages.load.text",
        "stages.load.log",
        "stages.export: 'no_such_backend'",
        "stages.export: 'another_missing'",
    ]


def test_what_is_wrong_alike_in_several_stages_is_told_once_with_all_of_them(dock):
    dock.stages |= {name: Wrong(dock.log) for name in ("load", "load2", "load3")}
    with pytest.raises(ConfigError) as caught:
        plan.check(dock.nodes())
    first, second = (p.what for p in caught.value.problems)
    assert first.startswith("stages.load.text is ")
    assert first.endswith(", and so it is in stages.load2, stages.load3")
    assert second.startswith("stages.load.log is ")


def test_a_plan_that_can_be_carried_out_passes_the_check(dock):
    plan.check(dock.nodes())


class Installed(Export):
    requires = ("filelock",)


def test_the_versions_of_declared_libraries_are_part_of_the_key(dock):
    from importlib.metadata import version

    dock.stages["export"] = Installed(dock.log)
    assert steps(dock)["export"].key_document["libraries"] == {"filelock": version("filelock")}


class Unsettled(Load):
    def settle(self, world):
        raise ConfigError(f"{self.text} is not there", command="look for it")


class Settled(Save):
    def settle(self, world):
        return Settled(self.log, f"{self.text}, fetched: {world.may_fetch}")


def test_settling_asks_the_world_and_keeps_the_graph(dock):
    dock.stages["save"] = Settled(dock.log, "weights")
    before, after = dock.nodes(), plan.settle(dock.nodes(), dock.world)
    assert after[-1].stage.text == "weights, fetched: True"
    assert [(n.name, n.inputs, n.kind) for n in after] == [(n.name, n.inputs, n.kind) for n in before]


def test_everything_that_is_not_there_is_reported_at_once(dock):
    dock.stages |= {"load": Unsettled(dock.log, "a"), "load2": Unsettled(dock.log, "b")}
    with pytest.raises(ConfigError) as caught:
        plan.settle(dock.nodes(), dock.world)
    assert [p.what for p in caught.value.problems] == [
        "stages.load: a is not there",
        "stages.load2: b is not there",
    ]
    assert caught.value.problems[0].command == "look for it"
