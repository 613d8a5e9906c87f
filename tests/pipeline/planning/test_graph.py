"""From a mapping of stages to a graph: inputs, order, and messages for impossible graphs."""

import pytest

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError
from pipeline.planning import graph
from pipeline.stage import Keep, SameKindAs, Stage
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO


class Toy(Stage):
    def run(self, inputs, folder) -> Artifact:
        raise AssertionError("a graph is built without running anything")


def toy(produces, *, on_request=None, optional=(), **consumes):
    """A stage of its own class, with one port for each keyword."""
    ports = {port: frozenset(kinds if isinstance(kinds, tuple) else {kinds}) for port, kinds in consumes.items()}
    requested = {port: frozenset({kind}) for port, kind in (on_request or {}).items()}
    attributes = {"produces": produces, "consumes": ports, "on_request": requested, "optional": frozenset(optional)}
    return type("Toy", (Toy,), attributes)()


def shipyard():
    return {
        "load": toy(Kind.MODULE),
        "reference": toy(Kind.REFERENCE, module=Kind.MODULE),
        "export": toy(ONNX, module=Kind.MODULE),
        "simplify": toy(ONNX, model=ONNX),
        "check": toy("artifact", artifact=(ONNX, OPENVINO), reference=Kind.REFERENCE),
        "compile": toy(OPENVINO, model=ONNX),
        "save": toy(Kind.DELIVERY, artifact=(ONNX, OPENVINO)),
    }


def inputs(nodes):
    return {n.name: dict(n.inputs) for n in nodes}


def problems(stages, needs):
    with pytest.raises(ConfigError) as caught:
        graph.build(stages, needs)
    return caught.value.problems


def test_a_port_is_fed_by_the_nearest_earlier_stage_that_fits():
    assert inputs(graph.build(shipyard(), {})) == {
        "load": {},
        "reference": {"module": "load"},
        "export": {"module": "load"},
        "simplify": {"model": "export"},
        "check": {"artifact": "simplify", "reference": "reference"},
        "compile": {"model": "check"},
        "save": {"artifact": "compile"},
    }


def test_what_needs_a_result_in_memory_runs_before_what_does_not():
    live = {"load": replace_keep(toy(Kind.MODULE), Keep.MEMORY)}
    later = {
        "files": toy(Kind("files")),
        "tokens": toy(Kind("tokens"), module=Kind.MODULE, reference=Kind.REFERENCE, files=Kind("files")),
        "contest": toy(Kind("figures"), module=Kind.MODULE, artifact=OPENVINO),
    }
    order = [n.name for n in graph.build(shipyard() | live | later, {})]
    assert order == [
        "load",
        "reference",
        "export",
        "files",
        "tokens",
        "simplify",
        "check",
        "compile",
        "contest",
        "save",
    ]


def replace_keep(stage, keep):
    return type("Live", (type(stage),), {"keep": keep})()


def test_a_stage_is_fed_by_the_ports_that_its_settings_leave_it():
    stage = toy(Kind.DELIVERY, artifact=ONNX, reference=Kind.REFERENCE)
    one = {"artifact": stage.consumes["artifact"]}
    less = type("Less", (type(stage),), {"ports": lambda self: one})()
    fed = inputs(graph.build({**shipyard(), "all": stage, "less": less}, {}))
    assert fed["all"] == {"artifact": "check", "reference": "reference"}
    assert fed["less"] == {"artifact": "check"}


def test_a_stage_that_passes_its_input_through_has_the_kind_of_that_input():
    kinds = {n.name: n.kind for n in graph.build(shipyard(), {"check": ["compile"]})}
    assert (kinds["check"], kinds["export"]) == (OPENVINO, ONNX)


@pytest.mark.parametrize("gone", ["simplify", "check", "compile"])
def test_a_graph_without_one_of_its_stages_holds_together(gone):
    stages = {n: s for n, s in shipyard().items() if n != gone}
    wired = inputs(graph.build(stages, {}))
    assert set(wired) == set(stages)
    assert gone not in {source for ports in wired.values() for source in ports.values()}


def test_needs_overrides_what_is_nearest():
    wired = inputs(graph.build(shipyard(), {"compile": ["export"]}))
    assert wired["compile"] == {"model": "export"}
    assert wired["check"] == {"artifact": "simplify", "reference": "reference"}


def test_what_needs_does_not_feed_comes_from_the_nearest():
    wired = inputs(graph.build(shipyard(), {"check": ["export"]}))
    assert wired["check"] == {"artifact": "export", "reference": "reference"}


def test_two_ports_of_one_kind_take_the_needs_in_their_order():
    stages = {**shipyard(), "compare": toy(Kind.REFERENCE, left=ONNX, right=ONNX)}
    wired = inputs(graph.build(stages, {"compare": ["simplify", "export"]}))
    assert wired["compare"] == {"left": "simplify", "right": "export"}


def test_a_needed_stage_is_moved_up_to_just_before_the_one_that_needs_it():
    stages = {n: s for n, s in shipyard().items() if n != "reference"}
    stages |= {"reference": toy(Kind.REFERENCE, module=Kind.MODULE)}
    order = [n.name for n in graph.build(stages, {"check": ["reference"]})]
    assert order == ["load", "export", "simplify", "reference", "check", "compile", "save"]


def test_without_needs_the_order_is_that_of_the_mapping():
    assert [n.name for n in graph.build(shipyard(), {})] == list(shipyard())


def test_a_cycle_is_told_as_the_ring_that_it_is():
    (problem,) = problems(shipyard(), {"simplify": ["compile"], "compile": ["simplify"]})
    assert "simplify → compile → simplify" in problem.what or "compile → simplify → compile" in problem.what
    assert "needs" in problem.command


def test_a_stage_that_needs_itself_is_a_cycle():
    assert "simplify → simplify" in problems(shipyard(), {"simplify": ["simplify"]})[0].what


def test_every_unknown_name_in_needs_is_reported_with_a_near_match():
    wrong = problems(shipyard(), {"compile": ["simplfy"], "save": ["qqq"]})
    assert [p.what for p in wrong] == [
        "stages.compile.needs names 'simplfy', which is no stage of this graph, did you mean 'simplify'?",
        "stages.save.needs names 'qqq', which is no stage of this graph",
    ]
    assert "compile" not in wrong[0].allowed
    assert "stages.compile.needs" in wrong[0].command


def test_a_need_of_a_kind_that_does_not_fit_is_refused():
    (problem,) = problems(shipyard(), {"compile": ["reference"]})
    assert (
        problem.what
        == "stages.compile.needs names 'reference', which makes reference; compile takes onnx as its 'model'"
    )
    assert "stages.compile.needs=null" in problem.command


def test_a_need_beyond_the_number_of_ports_is_refused():
    (problem,) = problems(shipyard(), {"compile": ["simplify", "export"]})
    assert "needs names 'export'" in problem.what


def test_a_port_that_nothing_feeds_names_the_kinds_and_what_there_is():
    stages = {n: s for n, s in shipyard().items() if n in ("load", "save")}
    (problem,) = problems(stages, {})
    assert problem.what == "stages.save takes onnx or openvino as its 'artifact', and no stage before it makes that"
    assert problem.allowed == "load makes module"
    assert "~stages.save" in problem.command


def test_a_first_stage_that_takes_something_is_told_so():
    (problem,) = problems({"export": shipyard()["export"]}, {})
    assert problem.allowed == "it is the first stage, so it must take nothing"


def test_a_stage_moved_up_before_what_it_lives_on_is_told_who_moved_it():
    wrong = problems(shipyard(), {"export": ["simplify"], "compile": ["simplify"]})
    assert "stages.simplify takes onnx" in wrong[0].what
    assert [p.what.partition(":")[0] for p in wrong[1:]] == [
        "stages.simplify was moved up because stages.export.needs names it",
        "stages.simplify was moved up because stages.compile.needs names it",
    ]


def runs_modules():
    """A check that takes a module too, if `needs` names its source."""
    takes = {"artifact": (ONNX, Kind.MODULE), "reference": Kind.REFERENCE}
    return toy("artifact", on_request={"artifact": Kind.MODULE}, **takes)


def test_a_kind_that_a_port_takes_on_request_only_does_not_feed_it_by_being_near():
    stages = {**shipyard(), "check": runs_modules()}
    nearer = {"load": stages["load"], **{n: s for n, s in stages.items() if n in ("export", "reference")}}
    nearer |= {"again": stages["load"], "check": stages["check"]}
    assert inputs(graph.build(nearer, {}))["check"]["artifact"] == "export"
    del nearer["export"]
    (problem,) = problems(nearer, {})
    assert problem.what.startswith("stages.check takes onnx as its 'artifact', and no stage before it makes that")


def test_a_kind_that_a_port_takes_on_request_feeds_it_when_needs_names_it():
    nodes = graph.build({**shipyard(), "last": runs_modules()}, {"last": ["load", "reference"]})
    assert inputs(nodes)["last"] == {"artifact": "load", "reference": "reference"}
    assert nodes[-1].kind == Kind.MODULE


def test_an_optional_port_is_fed_by_what_is_there_and_stays_unfed_without():
    stages = {**shipyard(), "measure": toy("artifact", optional=["module"], artifact=ONNX, module=Kind.MODULE)}
    assert inputs(graph.build(stages, {}))["measure"] == {"artifact": "check", "module": "load"}
    bare = {"open": toy(ONNX), "measure": stages["measure"]}
    assert inputs(graph.build(bare, {}))["measure"] == {"artifact": "open"}


@pytest.mark.parametrize(("feed", "kind"), [("simplify", ONNX), ("compile", OPENVINO)])
def test_a_stage_that_makes_something_new_of_the_same_kind_has_the_kind_of_what_it_is_fed(feed, kind):
    quantize = toy(SameKindAs("graph"), graph=(ONNX, OPENVINO))
    stages = {**shipyard(), "quantize": quantize}
    nodes = {n.name: n for n in graph.build(stages, {"quantize": [feed], "save": ["quantize"]})}
    assert nodes["quantize"].kind == kind
    assert nodes["save"].inputs == {"artifact": "quantize"}


def test_what_it_makes_is_new_so_it_is_unused_until_a_stage_takes_it():
    grown = {**shipyard(), "quantize": toy(SameKindAs("graph"), graph=OPENVINO)}
    assert grown["quantize"].passes_on is None
    assert "quantize" in graph.unused(graph.build(grown, {"save": ["compile"]}))
    assert "quantize" not in graph.unused(graph.build(grown, {"save": ["quantize"]}))


def test_a_stage_says_which_port_it_passes_on_and_one_that_makes_something_new_says_none():
    passes = {n: s.passes_on for n, s in shipyard().items()}
    assert passes == dict.fromkeys(shipyard()) | {"check": "artifact"}


def test_two_stages_of_one_name_are_refused():
    other = type("Toy", (Toy,), {"produces": ONNX, "__module__": "elsewhere"})()
    (problem,) = problems({"load": toy(Kind.MODULE), "export": other}, {})
    assert problem.what.startswith("stages.export is elsewhere.Toy, and another stage named toy is ")
    assert problem.command == "rename the class elsewhere.Toy"
