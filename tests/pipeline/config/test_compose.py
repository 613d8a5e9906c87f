"""A configuration composed outside of `hydra.main` is the one that the command itself would run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from pipeline.config import compose
from pipeline.config.composed import checked_graph, graph_of, store_folders, store_of
from pipeline.errors import BackendMissing, ConfigError

CHOSEN = ["model=mobilenet_v3_small", "target=onnx", "precision=fp16", "seed=3", "hydra.run.dir=here"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRYDOCK_CONF", raising=False)
    return tmp_path


def test_it_is_what_the_command_line_composes(home):
    command = [sys.executable, "-m", "pipeline", *CHOSEN, "output=there", "--cfg", "job"]
    shown = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True).stdout
    theirs = OmegaConf.to_container(OmegaConf.create(shown), resolve=True)
    assert compose.compose([*CHOSEN, "output=there"]).config == theirs


def test_it_says_what_was_typed_and_chosen_and_where_a_run_would_deliver(home):
    composed = compose.compose(CHOSEN)
    assert composed.overrides == CHOSEN[:-1]
    assert composed.choices["model"] == "mobilenet_v3_small"
    assert composed.config["output"] == str(home / "here" / "artifact")


def test_it_leaves_no_folder_and_nothing_of_hydra_behind(home):
    compose.compose(CHOSEN)
    assert list(home.iterdir()) == []
    assert (HydraConfig.initialized(), GlobalHydra.instance().is_initialized()) == (False, False)


def test_configurations_of_the_users_own_are_found(home):
    (home / "conf" / "model").mkdir(parents=True)
    (home / "conf" / "model" / "mine.yaml").write_text("defaults: [resnet50, _self_]\nname: mine\n")
    assert compose.compose(["model=mine"]).config["model"]["name"] == "mine"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("opst=18", "did you mean 'opset=18'"),
        ("+unheard_of=1", "unheard_of: there is no such key"),
        ("model=resnet5", "did you mean 'model=resnet50'"),
        ("model=custom", "model.factory has no value"),
        ("opset=18,20", "does not sweep"),
        ("a b", "LexerNoViableAltException"),
        ("output=${oc.env:UNHEARD_OF}", "UNHEARD_OF"),
    ],
)
def test_what_is_wrong_is_told_in_our_words(override, message):
    with pytest.raises(ConfigError, match=message):
        compose.compose([override])


def test_a_folder_of_configurations_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("DRYDOCK_CONF", "/nowhere")
    with pytest.raises(ConfigError, match="DRYDOCK_CONF names /nowhere, which is no folder"):
        compose.compose([])


def test_a_graph_that_lacks_a_library_can_be_looked_at(monkeypatch):
    monkeypatch.setattr("pipeline.planning.plan.is_installed", lambda module: module != "openvino")
    config = compose.compose([]).config
    assert "compile" in [n.name for n in graph_of(config)]
    with pytest.raises(BackendMissing, match="openvino"):
        checked_graph(config)


@pytest.mark.parametrize(
    ("override", "environment", "folders"),
    [
        ("store=mine", {"DRYDOCK_STORE": "/shared"}, ["{home}/mine"]),
        ("store=[mine,/theirs]", {"DRYDOCK_STORE": "/shared"}, ["{home}/mine", "/theirs"]),
        ("seed=0", {"DRYDOCK_STORE": "/shared"}, ["/shared"]),
        ("seed=0", {"DRYDOCK_STORE": "/mine:/theirs"}, ["/mine", "/theirs"]),
        ("seed=0", {"DRYDOCK_STORE": "", "XDG_CACHE_HOME": "/cache"}, ["/cache/drydock"]),
    ],
)
def test_the_store_is_where_the_configuration_says_then_the_environment(
    home, monkeypatch, override, environment, folders
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    places = store_folders(compose.compose([override]).config)
    assert [*map(str, places)] == [folder.format(home=home) for folder in folders]


@pytest.mark.parametrize("override", ["store=5", "store={a: b}", "store=[mine,[theirs]]", "store=[mine,null]"])
def test_a_store_that_is_no_folder_is_refused_with_what_is(home, override):
    with pytest.raises(ConfigError, match=r"^store is ") as caught:
        store_folders(compose.compose([override]).config)
    assert "store=[/mine,/theirs]" in caught.value.problems[0].command


WRONG = [
    ("trust=[ana]", r"trust\[0\] is 'ana'\n  allowed: user:NAME or group:NAME"),
    ("trust=[user:root,ana:user]", r"trust\[1\] is 'ana:user'"),
    ("trust=['user:']", r"trust\[0\] is 'user:'"),
    ("trust=[group:of-nobody]", "there is no such group"),
    ("trust=[user:of-nobody,group:]", r"(?s)there is no such user.*trust\[1\] is 'group:'"),
    ("trust=user:root", "(?s)trust.*list"),
    ("trust=[{user: root}]", "(?s)trust"),
]


@pytest.mark.parametrize(("override", "message"), WRONG, ids=[w for w, _ in WRONG])
def test_a_name_that_trust_cannot_mean_is_refused(home, override, message):
    with pytest.raises(ConfigError, match=message):
        store_of(compose.compose([override, "store=mine"]).config)
    assert not (home / "mine").exists()
