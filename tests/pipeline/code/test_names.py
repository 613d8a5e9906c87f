"""code/names.py: a stage is found by its name, wherever its file lies."""

import pytest

from pipeline.code import index, names
from pipeline.errors import ConfigError


def test_a_stage_is_found_in_its_room():
    assert names.home("compile_openvino") == "stages.openvino.compile_openvino"
    assert names.home("no_such_stage") == ""
    assert not names.shipped("tamper")


def test_two_files_with_a_class_of_one_name_are_refused(monkeypatch):
    class Two:
        def homes(self, name):
            return ["stages.a.check", "stages.b.check"]

    monkeypatch.setattr(index, "here", Two)
    with pytest.raises(ConfigError, match=r"two stages are named check: stages\.a\.check, stages\.b\.check"):
        names.home("check")
