"""pipeline/config/hydra_shortcuts.py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import hydra
import pytest
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from pipeline.config.compose import CONF
from pipeline.config.hydra_shortcuts import shared_work

COUNTED = """
import sys
from hydra._internal.hydra import Hydra
from pipeline import cli
compose, calls = Hydra.compose_config, []
def counted(*args, **kwargs):
    calls.append(1)
    return compose(*args, **kwargs)
Hydra.compose_config = counted
code = cli.main()
print("composed", len(calls), "code", code, file=sys.stderr)
"""


def test_each_yaml_is_read_once_for_all_jobs_and_none_sees_what_another_changed(monkeypatch):
    read, real = Counter(), ConfigRepository.load_config
    counted = lambda at, config_path: read.update([config_path]) or real(at, config_path)  # noqa: E731
    monkeypatch.setattr(ConfigRepository, "load_config", counted)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["model=resnet50"], RunMode.MULTIRUN)
        cells = [["opset=18", "precision=fp32"], ["opset=20", "precision=int8"]]
        alone = [OmegaConf.to_yaml(loader.load_sweep_config(master, cell)) for cell in cells]
        read.clear()
        with shared_work(loader):
            together = [OmegaConf.to_yaml(loader.load_sweep_config(master, cell)) for cell in cells]
        assert together == alone
        assert set(read.values()) == {1}
        read.clear()
        loader.load_sweep_config(master, cells[0])
        assert read["config"] == 1


@pytest.mark.parametrize(
    ("args", "composed", "jobs"),
    [
        (["model.weights=random"], 1, 1),
        pytest.param(["-m", "opset=18,20", "hydra.sweep.dir=here"], 1, 2, marks=pytest.mark.slow),
        pytest.param(["experiment=mine"], 2, 2, marks=pytest.mark.slow),
        pytest.param(["hydra.mode=MULTIRUN", "opset=18,20"], 2, 2, marks=pytest.mark.slow),
    ],
)
def test_the_configuration_is_composed_no_more_often_than_needed(tmp_path, args, composed, jobs):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    sweep = "hydra: {mode: MULTIRUN, sweeper: {params: {opset: '18,20'}}}"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{sweep}\n")
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *args, "plan=true", "store=store"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"composed {composed} code 0" in done.stderr
    assert sum(line.startswith("check_compile") for line in done.stdout.splitlines()) == jobs


@pytest.mark.parametrize(("option", "looked_up"), [("${target}", {"target": "onnx"}), ("fp32", None)])
def test_all_choices_are_mapped_where_a_defaults_list_looks_one_up_and_nowhere_else(option, looked_up):
    choices = SimpleNamespace(known_choices={"target": "onnx"})
    default = GroupDefault(group="precision", value=option)
    default.update_parent("", "")
    choice_map = defaults_list._create_interpolation_map(choices, [default], False)
    assert (choice_map and {"target": choice_map.target}) == looked_up


def test_defaults_lists_are_made_and_merged_once_for_jobs_of_equal_choices(monkeypatch):
    lists, real = [], config_loader_impl.create_defaults_list
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", lambda **how: lists.append(1) or real(**how))
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["model=resnet50"], RunMode.MULTIRUN)
        cells = [
            ["opset=18", "seed=1"],
            ["opset=20", "seed=2"],
            ["precision=fp16", "seed=1"],
            ["~stages.audit", "seed=1"],
        ]
        alone = [OmegaConf.to_yaml(loader.load_sweep_config(master, cell)) for cell in cells]
        lists.clear()
        with shared_work(loader):
            together = [OmegaConf.to_yaml(loader.load_sweep_config(master, cell)) for cell in cells]
        assert together == alone
        assert len(lists) == 2
