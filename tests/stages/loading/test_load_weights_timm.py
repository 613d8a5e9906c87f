"""loading/load_weights.py: models by timm, and the weights that it publishes."""

from __future__ import annotations

import pytest
import torch
from harness import run_stage, world
from safetensors.torch import save_file

from pipeline.errors import ConfigError, StageError
from stages.loading.load_weights import LoadWeights

TIMM = {"model_name": "test_resnet.r160_in1k"}


def timm_model(weights="auto", kwargs=TIMM, *, strict=True):
    return LoadWeights("timm.create_model", kwargs, weights, None, "timm", None, [], strict, 0)


@pytest.fixture
def timm_cache(tmp_path, monkeypatch):
    """A hub's cache with the weights of one small timm model; returns those."""
    import timm

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repo, commit = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k", "0123456789abcdef0123456789abcdef01234567"
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    torch.manual_seed(1)
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, repo / "snapshots" / commit / "model.safetensors")
    return state


@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_timms_published_weights_are_found_in_the_hubs_cache(timm_cache, tmp_path, no_network, weights):
    result = run_stage(timm_model(weights).settle(world(tmp_path)), {}, tmp_path / "out")
    assert result.facts["weights"]["trained"] is True
    assert torch.equal(result.live.fc.weight, timm_cache["fc.weight"])
    assert "state_dict" not in result.live.pretrained_cfg


def test_timms_weights_for_another_number_of_classes_are_refused_unless_told(timm_cache, tmp_path):
    kwargs = {**TIMM, "num_classes": 7}
    with pytest.raises(StageError, match=r"7 classes asked for, 1000 published: fc.weight, fc.bias random"):
        run_stage(timm_model(kwargs=kwargs).settle(world(tmp_path)), {}, tmp_path / "strict")
    result = run_stage(timm_model(kwargs=kwargs, strict=False).settle(world(tmp_path)), {}, tmp_path / "out")
    assert "2 of its" in result.facts["weights"]["says"]
    assert torch.equal(result.live.conv1[0].weight, timm_cache["conv1.0.weight"])
    assert "fc.weight" in result.notes["caution"]


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "no_such_model"])
def test_timms_weights_that_cannot_be_had(tmp_path, monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert timm_model(kwargs={"model_name": name}).settle(world(tmp_path)).weights == "random"
    with pytest.raises(ConfigError, match=r"weights is pretrained, but (those of timm/test_resnet|no published)"):
        timm_model("pretrained", kwargs={"model_name": name}).settle(world(tmp_path))
