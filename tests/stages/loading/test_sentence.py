"""loading/sentence.py and sentence_folder.py."""

from __future__ import annotations

import json

import pytest
import torch
from harness import run_stage, world
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from pipeline.errors import ConfigError
from stages.loading import sentence, sentence_folder
from stages.loading.load_transformers import LoadTransformers

TINY = BertConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
IDS, MASK = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
TOKENS = torch.arange(12.0).reshape(2, 3, 2)


def load(folder, tmp_path, factory="auto"):
    settled = settled_of(folder, tmp_path, factory)
    return settled, run_stage(settled, {}, tmp_path / "out").live.eval()


def settled_of(folder, tmp_path, factory="auto"):
    return LoadTransformers(factory, {}, str(folder), None, None, True, 0, None, False).settle(world(tmp_path))


def written(folder, net, *more, pooling):
    """A folder as sentence_transformers writes it."""
    net.save_pretrained(folder)
    kinds = ["Transformer", "Pooling", *more]
    (folder / "modules.json").write_text(
        json.dumps([{"idx": i, "path": f"{i}_{k}" if i else "", "type": f"x.models.{k}"} for i, k in enumerate(kinds)])
    )
    for i, kind in enumerate(kinds[1:], 1):
        (folder / f"{i}_{kind}").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize(
    ("mode", "second"),
    [
        ("cls_token", [6, 7]),
        ("max_tokens", [8, 9]),
        ("mean_tokens", [7, 8]),
        ("mean_sqrt_len_tokens", [14 / 2**0.5, 16 / 2**0.5]),
        ("weightedmean_tokens", [(6 + 2 * 8) / 3, (7 + 2 * 9) / 3]),
        ("lasttoken", [8, 9]),
    ],
)
def test_tokens_become_a_vector_without_the_padding(mode, second):
    """The second row has two tokens, [6, 7] and [8, 9]."""
    torch.testing.assert_close(sentence.pooled(TOKENS, MASK, mode)[1], torch.tensor(second, dtype=torch.float32))


def test_a_folder_of_sentence_transformers_gives_sentence_embeddings(tmp_path):
    net = BertModel(TINY).eval()
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
    folder = written(tmp_path / "mine", net, "Dense", "Normalize", pooling=modes)
    dense = nn.Linear(16, 4)
    save_file({f"linear.{n}": t for n, t in dense.state_dict().items()}, folder / "2_Dense" / "model.safetensors")
    shape = {"in_features": 16, "out_features": 4, "activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(shape))
    settled, loaded = load(folder, tmp_path)
    with torch.no_grad():
        tokens = net(IDS, attention_mask=MASK).last_hidden_state
        mean = torch.stack([tokens[0].mean(0), tokens[1, :2].mean(0)])
        expected = nn.functional.normalize(torch.tanh(dense(torch.cat([tokens[:, 0], mean], 1))), dim=1)
        torch.testing.assert_close(loaded(IDS, MASK)["sentence_embedding"], expected)
    assert settled.factory == sentence_folder.FACTORY
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    assert settled_of(folder, tmp_path).sha256 != settled.sha256  # how tokens become a vector is part of the model


def test_a_model_without_token_types_takes_none(tmp_path):
    net = DistilBertModel(DistilBertConfig(vocab_size=40, dim=8, n_layers=1, n_heads=2, hidden_dim=8)).eval()
    _, loaded = load(written(tmp_path / "mine", net, pooling={"pooling_mode": "mean"}), tmp_path)
    assert loaded(IDS, MASK)["sentence_embedding"].shape == (2, 8)


def test_a_named_class_takes_the_model_without_its_modules(tmp_path):
    folder = written(tmp_path / "mine", BertModel(TINY), pooling={"pooling_mode": "mean"})
    assert type(load(folder, tmp_path, "transformers.AutoModel")[1]) is BertModel


@pytest.mark.parametrize(
    ("kind", "pooling", "says"),
    [("WordWeights", {"pooling_mode": "mean"}, "WordWeights"), ("Normalize", {"pooling_mode": "best"}, "mode best")],
)
def test_a_module_that_is_not_known_is_refused(tmp_path, kind, pooling, says):
    folder = written(tmp_path / "mine", BertModel(TINY), kind, pooling=pooling)
    with pytest.raises(ConfigError, match=says):
        load(folder, tmp_path)
