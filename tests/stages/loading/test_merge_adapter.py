"""loading/merge_adapter.py: what an adapter adds, by a formula of its own, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from harness import run_stage, world
from safetensors.torch import save_file
from torch import nn

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError
from stages.loading.merge_adapter import MergeAdapter

RANK, ALPHA = 2, 6


class Net(nn.Module):
    """One layer of each kind that LoRA is used for, and a head that is trained whole."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 6)
        self.block = nn.ModuleDict({"query": nn.Linear(6, 6), "conv": nn.Conv2d(3, 4, 3)})
        self.head = nn.Linear(6, 2)


def matrices(a, b):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(a, generator=generator), torch.randn(b, generator=generator)


def tensors():
    """As peft names and shapes them."""
    by_name = {"base_model.model.head.weight": torch.ones(2, 6), "base_model.model.head.bias": torch.ones(2)}
    for name, kernel in (("block.query", ()), ("block.conv", (3, 3))):
        a, b = matrices((RANK, 3 if kernel else 6, *kernel), (4 if kernel else 6, RANK, *(1 for _ in kernel)))
        by_name |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
    a, b = matrices((RANK, 7), (6, RANK))
    return {
        **by_name,
        "base_model.model.words.lora_embedding_A": a,
        "base_model.model.words.lora_embedding_B": b,
    }


def adapter(folder, state=None, **options):
    folder.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "init_lora_weights": True, **options}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(state or tensors(), folder / "adapter_model.safetensors")
    return folder


def merged(net, folder, tmp_path):
    stage = MergeAdapter(str(folder), None).settle(world(tmp_path))
    module = Artifact(Kind.MODULE, live=net, facts={"weights": {"says": "from a file", "trained": True}})
    return run_stage(stage, module, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "scales"),
    [
        ({}, {}),
        (
            {"use_rslora": True},
            {"block.query": ALPHA / RANK**0.5, "block.conv": ALPHA / RANK**0.5, "words": ALPHA / RANK**0.5},
        ),
        ({"alpha_pattern": {"query": 1}}, {"block.query": 1 / RANK}),
    ],
    ids=["plain", "by the root", "of its own"],
)
def test_each_weight_gets_what_the_adapter_adds(options, scales, tmp_path):
    net, lora_tensors = Net(), tensors()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    result = merged(net, adapter(tmp_path / "lora", **options), tmp_path)
    net_after, x = result.live, torch.randn(1, 3, 5, 5)

    def matrix(name, part="lora_{}.weight"):
        return (lora_tensors[f"base_model.model.{name}.{part.format(m)}"] for m in "AB")

    a, b = matrix("block.query")
    scale = {n: scales.get(n, ALPHA / RANK) for n in ("block.query", "block.conv", "words")}
    added = {"block.query.weight": scale["block.query"] * b @ a}
    a, b = matrix("words", "lora_embedding_{}")
    added["words.weight"] = scale["words"] * (b @ a).T
    for name, more in added.items():
        torch.testing.assert_close(net_after.state_dict()[name], before[name] + more)
    a, b = matrix("block.conv")
    expected = net.block["conv"](x) + scale["block.conv"] * nn.functional.conv2d(nn.functional.conv2d(x, a), b)
    torch.testing.assert_close(net_after.block["conv"](x), expected, rtol=1e-4, atol=1e-4)
    assert net_after.head.weight.eq(1).all()
    assert "LoRA adapter merged into 5 tensors" in result.facts["weights"]["says"]
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)  # another job may take it as it was


def test_weights_that_lie_the_other_way_round_get_the_transposed(tmp_path):
    a, b = matrices((RANK, 6), (6, RANK))
    state = {"base_model.model.block.query.lora_A.weight": a, "base_model.model.block.query.lora_B.weight": b}
    net = Net()
    result = merged(net, adapter(tmp_path / "lora", state, fan_in_fan_out=True), tmp_path)
    expected = net.block["query"].weight + ALPHA / RANK * (b @ a).T
    torch.testing.assert_close(result.live.block["query"].weight.data, expected.data)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type is IA3"),
        ({"use_dora": True}, "use_dora is true"),
        ({"init_lora_weights": "pissa"}, 'init_lora_weights is "pissa"'),
        ({"layer_replication": [[0, 2]]}, r"layer_replication is \[\[0, 2\]\]"),
    ],
)
def test_what_is_more_than_lora_is_refused_by_its_name(options, says, tmp_path):
    with pytest.raises(ConfigError, match=rf"{says}(?s:.*)merge_and_unload\(\)"):
        merged(Net(), adapter(tmp_path / "lora", **options), tmp_path)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"base_model.model.block.key.lora_A.weight": torch.ones(2, 6)}, "for a model with block.key, which Net lacks"),
        ({"base_model.model.head.lora_A.weight": torch.ones(2, 6)}, "head has A"),
        ({"base_model.model.head.weight": torch.ones(2, 6)}, "has no lora_A and lora_B"),
    ],
)
def test_what_is_of_another_model_is_refused(state, says, tmp_path):
    with pytest.raises(StageError, match=says):
        merged(Net(), adapter(tmp_path / "lora", state), tmp_path)


def test_a_folder_without_an_adapter_is_told_in_the_plan(tmp_path):
    with pytest.raises(ConfigError, match=r"is no adapter as peft saves it: there is no such folder"):
        MergeAdapter(str(tmp_path / "none"), None).settle(world(tmp_path))


def test_another_content_is_refused_where_it_is_pinned(tmp_path):
    folder = adapter(tmp_path / "lora")
    with pytest.raises(ConfigError, match=r"stages.adapter.sha256=[0-9a-f]{64} if the new content is meant"):
        MergeAdapter(str(folder), "0" * 64).settle(world(tmp_path))
