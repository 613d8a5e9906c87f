"""code/names.py: a stage is found by its name, wherever its file lies."""

from pipeline.code import names


def test_a_stage_is_found_in_its_room():
    assert names.homes("compile_openvino") == ["stages.openvino.compile_openvino"]
    assert names.homes("no_such_stage") == []


def test_what_ships_is_known_by_its_name():
    assert names.shipped("compile_openvino")
    assert not names.shipped("tamper")
