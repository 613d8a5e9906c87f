"""Choices that do not go together are refused in the words that were typed."""

from __future__ import annotations

import hydra
import pytest
from compositions import NEEDED, PRECISIONS, REACHED, TARGETS, options
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from pipeline.config import compose
from pipeline.config.compose import CONF
from pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRYDOCK_CONF", raising=False)
    return tmp_path


def problems(*overrides):
    with pytest.raises(ConfigError) as caught:
        compose.compose(overrides)
    return caught.value.problems


def own(home, group, name, text):
    (home / "conf" / group).mkdir(parents=True, exist_ok=True)
    (home / "conf" / group / f"{name}.yaml").write_text(f"# @package _global_\n{text}")


# A bundle is of the graph, so it has the precisions of graphs.
OFFERED = {t: [p for target, p in REACHED if target == t] for t in TARGETS} | {
    "tensorrt_bundle": options("wiring/cast")
}
QUICK = [("openvino", "palette4")]


@pytest.mark.parametrize(
    ("target", "precision"),
    [
        pytest.param(t, p, marks=[] if (t, p) in QUICK else pytest.mark.slow)
        for t in TARGETS
        for p in PRECISIONS
        if p not in OFFERED[t]
    ],
)
def test_a_precision_that_a_target_does_not_have_is_told_with_what_goes_with_each(target, precision):
    (problem,) = problems(f"target={target}", f"precision={precision}")
    assert problem.what == f"precision={precision} does not go with target={target}"
    others = ", ".join(t for t in TARGETS if precision in OFFERED[t])
    there, elsewhere = f"with target={target}: {', '.join(OFFERED[target])}", f"goes with target={others}"
    assert problem.allowed == f"{there}; precision={precision} {elsewhere}"
    *program, overrides = problem.command.partition(",")[0].rpartition("pipeline ")
    chosen = compose.compose(overrides.split()).choices
    assert chosen["target"] == target if any(program) else chosen["precision"] == precision


# Those that are slow here are typed in test_cli.
@pytest.mark.parametrize(
    ("one", "other", "allowed"),
    [
        pytest.param("also=multifunction", "target=onnx", "target=coreml", marks=pytest.mark.slow),
        pytest.param("also=pruned", "target=openvino", "target=coreml", marks=pytest.mark.slow),
        ("also=compiled", "target=coreml", "target=openvino"),
        ("also=image", "target=onnx", "target=coreml, openvino"),
        pytest.param("also=image", "target=tensorrt", "target=coreml, openvino", marks=pytest.mark.slow),
        ("also=image", "precision=int8", f"precision={', '.join(p for p in PRECISIONS if p != 'int8')}"),
        pytest.param("also=accuracy_control", "precision=fp32", "precision=int8", marks=pytest.mark.slow),
        ("also=accuracy_control", "precision=int8_weights", "precision=int8"),
        ("target=coreml", "route=auto", "route=direct"),
        ("target=onnx", "route=direct", "route=onnx"),
        ("model=file", "target=coreml", "target=openvino"),
        ("model=onnx_file", "opset=17", "opset=null"),
    ],
)
def test_choices_that_exclude_each_other_are_told_as_they_were_typed(one, other, allowed):
    (problem,) = problems(*NEEDED.get(one.partition("=")[2], []), one, other)
    assert problem.what == f"{one} does not go with {other}"
    assert problem.allowed == allowed
    assert problem.command.startswith(allowed.partition(",")[0])


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        pytest.param("also=pruned", "target=coreml or the same command without also=pruned", marks=pytest.mark.slow),
        ("also=[benchmark,pruned]", "target=coreml or the same command without also=pruned"),
        pytest.param(
            "target=openvino_direct route=onnx", "route=direct or target=openvino route=onnx", marks=pytest.mark.slow
        ),
        pytest.param(
            "route=direct opset=17",
            "opset=null or route=auto or route=onnx or route=onnx_first",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "model=file model.path=net.pb target=onnx",
            "target=openvino or the same command without model=file",
            marks=pytest.mark.slow,  # refused in test_conf
        ),
        pytest.param("also=raw_images", "also=image", marks=pytest.mark.slow),
        ("capture=trase", "python -m pipeline capture=trace"),
    ],
)
def test_what_to_type_keeps_one_of_the_two(typed, instead):
    (problem,) = problems(*typed.split())
    assert problem.command == instead


def test_an_experiment_may_have_chosen_it(home):
    own(home, "experiment", "mine", "defaults: [override /target: openvino_onnx, override /precision: palette4]\n")
    (problem,) = problems("experiment=mine")
    assert problem.what == "precision=palette4 does not go with target=openvino_onnx"


def test_an_option_stands_for_those_that_are_made_of_it(home):
    own(home, "target", "mine", "defaults: [coreml, _self_]\ntarget: {name: mine}\n")
    assert "prune" in compose.compose(["target=mine", "also=pruned"]).config["stages"]
    (problem,) = problems("target=mine", "also=compiled")
    assert problem.what == "also=compiled does not go with target=mine"


def test_what_an_option_of_the_users_goes_with_is_for_them_to_say(home):
    text = "defaults:\n- /route: onnx\n- /stage@stages.compile: compile_openvino\n- /also: []\n- _self_\n"
    own(home, "target", "mine", f"{text}target: {{name: mine}}\n")
    assert compose.compose(["target=mine", "also=compiled"]).choices["target"] == "mine"
    own(home, "also", "mine", "goes_with: {also: {mine: {target: [onnx]}}}\n")
    (problem,) = problems("also=mine")
    assert problem.what == "also=mine does not go with target=openvino"


def test_a_rule_that_is_none_is_refused(home):
    own(home, "also", "mine", "goes_with: {also: [mine]}\n")
    (problem,) = problems("also=mine")
    assert "goes_with" in problem.what


def test_a_sweep_over_targets_is_composed_with_the_first_and_keeps_what_was_typed():
    typed = ["target=coreml,onnx", "also=pruned", "opset=17,18"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", typed, RunMode.MULTIRUN)
    assert OmegaConf.to_object(master.hydra.overrides.task) == typed
    assert master.target.name == "coreml"


def test_what_is_to_be_tried_instead_is_an_option_of_its_group():
    (problem,) = problems("target=onnx", "instead.capture=[trace,jit]")
    assert problem.what == "instead.capture has jit, which is no option of capture"
    assert problem.command == "'instead.capture=[]' for none"
    assert compose.compose(["target=onnx", "instead.capture=[]"]).config["instead"] == {"capture": []}
