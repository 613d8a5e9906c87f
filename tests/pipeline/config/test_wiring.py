"""conf/wiring/: other choices decide its groups, and a message names these choices to a person who types one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from compositions import model_overrides
from omegaconf import OmegaConf

from pipeline.config import compose
from pipeline.config.compose import CONF
from pipeline.errors import ConfigError

WIRING = CONF / "wiring"
# The groups that there were, each with an option that it had, and what to type instead.
GROUPS = {
    "cast": ("bf16", "precision=bf16"),
    "coreml": ("palette4", "precision=palette4"),
    "dialect": ("tensorrt", "target=tensorrt or target=tensorrt_bundle"),
    "engine": ("int8", "precision=int8"),
    "exporter": ("trace", "capture=trace"),
    "generation": ("openvino", "model=causal_lm target=openvino"),
    "ir": ("fp16", "precision=fp16"),
    "lower": ("int8_weights", "precision=int8_weights"),
    "openvino": ("auto", "route=auto"),
    "packager": ("export", "capture=export"),
    "pruning": ("magnitude", "also=pruned"),
    "schema": ("check", "+stage@stages.NEW=check, which brings its own"),
    "source": ("onnx_file", "model=onnx_file"),
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRYDOCK_CONF", raising=False)
    return tmp_path


def problems(*overrides):
    with pytest.raises(ConfigError) as caught:
        compose.compose(overrides)
    return caught.value.problems


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "spelled", ["{0}", "wiring/{0}", "+wiring/{0}", "+{0}", "{0}@stages.compile", "wiring/{0}@_global_"]
)
def test_a_group_of_wiring_is_refused_however_it_is_typed_with_what_to_type(group, spelled):
    option, instead = GROUPS[group]
    typed = f"{spelled.format(group)}={option}"
    (problem,) = problems("target=onnx", typed)
    assert problem.what.startswith(f"{typed}: {group} is wiring that ")
    assert problem.command == instead


def test_the_words_for_it_say_who_decides():
    (problem,) = problems("ir=fp16")
    assert problem.what == "ir=fp16: ir is wiring that target=openvino chooses by precision"


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("ir=int4", "precision=NAME"),
        ("ir=fp16,fp32", "precision=fp16,fp32"),
        ("source=pytorch", "the same command without it, as every model of PyTorch has it"),
        ("pruning=none", "the same command without also=pruned"),
        ("packager=none", "the same command without it, as no package is made of a file"),
        ("~ir", "the same command without it"),
        ("~wiring/ir=fp16", "the same command without it"),
        ("wiring=tensorrt", "python -m pipeline --help shows all choices"),
        ("+wiring/mine=x", "python -m pipeline --help shows all choices"),
    ],
)
def test_where_no_option_serves_it_says_what_does(typed, instead):
    (problem,) = problems(typed)
    assert problem.command == instead


def test_all_that_is_wiring_is_told_at_once():
    assert [p.command for p in problems("ir=fp16", "exporter=trace")] == ["precision=fp16", "capture=trace"]


@pytest.mark.parametrize(
    ("group", "typed"),
    [
        ("cast", ["target=onnx"]),
        ("coreml", ["target=coreml"]),
        ("engine", ["target=tensorrt"]),
        ("exporter", ["target=onnx"]),
        ("ir", ["target=openvino"]),
        ("lower", ["target=openvino"]),
        ("source", model_overrides("onnx_file")),
    ],
)
def test_what_is_said_to_be_typed_chooses_what_was_asked_for(group, typed):
    option, instead = GROUPS[group]
    assert compose.compose([*typed, instead]).choices[f"wiring/{group}"] == option


def test_every_group_that_lies_there_has_its_words():
    groups = set(OmegaConf.load(WIRING / "names.yaml"))
    assert {folder.name for folder in WIRING.iterdir() if folder.is_dir()} <= groups
    assert groups == set(GROUPS)


@pytest.mark.slow
def test_neither_help_nor_tab_completion_offers_it(home):
    def offered(line):
        shell = {**os.environ, "COMP_LINE": f"drydock {line}", "COMP_POINT": "99"}
        command = [sys.executable, "-m", "pipeline", "-sc", "query=bash"]
        return subprocess.run(command, env=shell, capture_output=True, text=True, check=True).stdout.split()

    assert {"target=", "precision=", "tolerance="} <= set(offered(""))
    assert [word for word in offered("") if word.strip("=/") in (*GROUPS, "wiring")] == []
    assert offered("wiring/") == offered("wiring/ir=") == []


def written(home, name, defaults):
    path = home / "conf" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\ndefaults:\n{defaults}")


@pytest.mark.parametrize(
    ("name", "defaults", "typed", "what", "instead"),
    [
        ("target/mine", "- /ir: fp16\n", ["target=mine"], "target/mine.yaml names /ir: fp16", "/wiring/ir: fp16"),
        (
            "experiment/mine",
            "- override /exporter: trace\n",
            ["experiment=mine"],
            "experiment/mine.yaml names override /exporter: trace",
            "override /wiring/exporter: trace",
        ),
        (
            "also/mine",
            "- override /pruning: magnitude\n",
            ["also=mine", "target=coreml"],
            "also/mine.yaml names override /pruning: magnitude",
            "override /also: [pruned]",
        ),
        ("target/mine", "- /dialect: tensorrt\n", ["target=mine"], "names /dialect: tensorrt", "/wiring/tensorrt"),
        (
            "target/mine",
            "- /openvino: direct\n",
            ["target=mine"],
            "names /openvino",
            "/stage@stages.compile: compile_openvino",
        ),
        (
            "target/mine",
            "- /packager: trace\n",
            ["target=mine"],
            "names /packager",
            "/stage@stages.compile: compile_coreml",
        ),
        (
            "stage/mine",
            "- /schema/check@_here_\n",
            ["+stage@stages.mine=mine"],
            "stage/mine.yaml names /schema/check",
            "/wiring/schema/check@_here_",
        ),
        ("also/mine", "- optional /ir: fp16\n", ["also=mine"], "names optional /ir: fp16", "/wiring/ir: fp16"),
    ],
)
def test_a_yaml_of_the_users_that_names_an_old_group_is_told_the_new_one(home, name, defaults, typed, what, instead):
    written(home, name, defaults)
    (problem,) = problems(*typed)
    assert what in problem.what
    assert problem.command == f"{instead} in its place"


def test_a_yaml_of_the_users_may_name_wiring_and_add_to_it(home):
    written(home, "wiring/ir/half", "- fp16\n")
    (home / "conf" / "precision").mkdir()
    (home / "conf" / "precision" / "half.yaml").write_text("defaults: [fp16, _self_]\nname: half\n")
    assert compose.compose(["precision=half"]).choices["wiring/ir"] == "half"


def test_wiring_of_the_users_that_lies_where_it_was_before_is_to_be_moved(home):
    written(home, "ir/half", "- /wiring/ir: fp16\n")
    (home / "conf" / "precision").mkdir()
    (home / "conf" / "precision" / "half.yaml").write_text("defaults: [fp16, _self_]\nname: half\n")
    (problem,) = problems("precision=half")
    assert problem.command == "move conf/ir/half.yaml of yours to conf/wiring/ir/half.yaml"
