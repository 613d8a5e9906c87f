"""`python -m pipeline.models`: names that can be typed, with their inputs."""

import pytest
from command_line import run_module
from compositions import composed


def listed(folder, *args):
    done = run_module("pipeline.models", args, folder)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("library", "pattern", "name", "size"),
    [
        pytest.param("torchvision", "resnet5*", "resnet50", "3x224x224", marks=pytest.mark.slow),
        pytest.param("timm", "convnext_at*", "convnext_atto", "3x224x224", marks=pytest.mark.slow),
    ],
)
def test_a_librarys_models_are_listed_with_what_to_type(tmp_path, library, pattern, name, size):
    code, lines, words = listed(tmp_path, library, pattern)
    assert code == 0, words
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines}
    assert rows[name] == [size, f"model={library} model.name={name}"]
    assert composed(*rows[name][1].split()).model.name == name


def test_what_ships_is_listed_and_a_slip_is_told(tmp_path):
    code, lines, _ = listed(tmp_path)
    assert (code, "model=resnet50" in lines) == (0, True)
    assert listed(tmp_path, "tim")[0] == 2
    code, _, words = listed(tmp_path, "torchvision", "nothing*")
    assert code == 2
    assert "no model of torchvision is like nothing*" in words
