"""A ${…} that cannot be resolved is reported with the key that has it, by every command."""

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import complaints

CASES = [
    ("${nope}", "there is no key nope", "model.name=VALUE; python -m pipeline --cfg job"),
    ("x-${oc.env:UNSET}", "the environment has no UNSET", "export UNSET=VALUE, or model.name='${oc.env:UNSET,VALUE}'"),
    ("${nosuch:1}", "there is no resolver nosuch", "model.name=VALUE"),
    ("${model.name}", "Recursive interpolation detected", "model.name=VALUE"),
]


@pytest.mark.parametrize(("value", "says", "command"), CASES)
def test_it_is_told_with_its_key(tmp_path, monkeypatch, value, says, command):
    monkeypatch.delenv("UNSET", raising=False)
    cfg = OmegaConf.create({"hydra": {"run": {"dir": "runs/${model.name}"}}, "model": {"name": value}})
    with pytest.raises(OmegaConfBaseException) as caught:
        cfg.hydra.run.dir  # noqa: B018 (asked for as Hydra asks)
    (problem,) = complaints.of_hydra(caught.value, tmp_path).problems
    assert problem.what == f"model.name: {value} cannot be resolved: {says}"
    assert problem.command.startswith(command)
