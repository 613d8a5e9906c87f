"""Each input comes with the stage that made it, and with what that was made of."""

import pytest

from tests.pipeline.conftest import (
    Check,
    digests,
)


def origins(dock, name):
    """For each port of a stage: the stage that its artifact comes from, and that stage's own source."""
    origins_by_port = {}

    def look(inputs):  # while the run goes on: afterwards nothing is held in memory
        for port, artifact in inputs.items():
            origins_by_port[port] = artifact.origin.stage, artifact.origin.source and artifact.origin.source()

    dock.change(name, text="to be built", hook=look)
    dock.run()
    return origins_by_port


def test_an_artifact_comes_with_the_stage_that_made_it_and_what_that_was_made_of(dock):
    stage, source = origins(dock, "tidy")["model"]
    assert (stage, source.live.text) == ("export", "net")
    assert (source.origin.stage, source.origin.source) == ("load", None)


def test_an_artifact_of_a_stage_without_ports_was_made_of_nothing(dock):
    assert origins(dock, "export")["module"] == ("load", None)


def test_each_port_has_an_origin_of_its_own(dock):
    dock.stages["check"] = Check(dock.log)
    dock.needs["check"] = ["tidy", "record"]
    assert {port: stage for port, (stage, _) in origins(dock, "check").items()} == {
        "artifact": "tidy",
        "reference": "record",
    }


@pytest.mark.parametrize("stored", [False, True], ids=["in one run", "from the store"])
def test_what_passed_through_checks_comes_from_the_stage_before_them(dock, stored):
    dock.stages |= {"check": Check(dock.log), "another": Check(dock.log)}
    dock.needs |= {"check": ["tidy", "record"], "another": ["check", "record"], "compile": ["another"]}
    if stored:
        dock.run()
    stage, source = origins(dock, "compile")["model"]
    assert stage == "tidy"
    assert source.folder == dock.object_of("export")
    assert source.file.read_text() == "graph of net, opset 18"


def test_what_an_artifact_was_made_of_is_made_again_for_whoever_opens_it_and_for_nobody_else(dock):
    dock.run()
    dock.ran()
    dock.change("tidy", text="18")
    dock.run()
    assert dock.ran() == ["tidy", "compile", "save"]
    assert origins(dock, "tidy")["model"][1].live.text == "net"
    assert dock.ran()[:2] == ["tidy", "load"]


def test_an_origin_is_no_part_of_a_result(dock):
    dock.stages["check"] = Check(dock.log)
    dock.needs |= {"check": ["tidy", "record"], "compile": ["check"]}
    first = digests(dock.run())
    dock.ran()
    dock.stages["more"] = Check(dock.log, "another")
    dock.needs |= {"more": ["check", "record"], "compile": ["more"]}
    assert digests(dock.run())["compile"] == first["compile"]
    assert dock.ran() == ["check", "save"]  # that is the one more
