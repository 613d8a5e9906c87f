"""generation/record_texts.py: texts are drawn by the model's own probabilities, or are pieces of the user's."""

import inspect
from pathlib import Path

import architectures
import decoders
import numpy as np
import pytest
from harness import run_stage, shipped, world

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError
from stages.generation import texts
from stages.generation.format import MODEL_FOLDER
from stages.interface.interface import Dim
from stages.loading.load_causal_lm import LoadCausalLm

REFERENCE = Artifact(Kind.REFERENCE, facts=decoders.facts())
EXAMPLE = Path(__file__).parents[3] / "examples" / "09_language_model" / "model"


def stage(**settings):
    return shipped("record_texts", **{"source": None, "path": None, "count": 16, "length": 64, "seed": 0, **settings})


def record(folder, files=None, **settings):
    inputs = {"module": decoders.module(), "reference": REFERENCE, **({"files": files} if files else {})}
    artifact = run_stage(stage(**settings), inputs, folder)
    return artifact, texts.read(artifact)


def test_texts_are_drawn_by_what_the_model_finds_likely_and_by_the_seed(tmp_path):
    artifact, recorded = record(tmp_path / "one")
    assert (recorded.tokens.shape, recorded.tokens[:, 0].tolist()) == ((16, 64), [decoders.BOS] * 16)
    # Of what is drawn by its own probabilities, the mean log likelihood is the entropy, but for chance.
    entropy = -(np.exp(recorded.logs) * recorded.logs).sum(-1).mean()
    assert -recorded.likely.mean() == pytest.approx(entropy, abs=0.05)
    assert entropy < 0.97 * np.log(decoders.VOCABULARY)
    assert artifact.facts["texts"]["from"] == "the model's own"
    assert (record(tmp_path / "again")[1].tokens == recorded.tokens).all()
    assert (record(tmp_path / "other", seed=1)[1].tokens != recorded.tokens).any()


@pytest.mark.slow  # each takes the import of its architecture
@pytest.mark.parametrize("kind", architectures.CONFIGS)
def test_every_architecture_finds_its_texts_as_likely_as_transformers_says(kind, tmp_path):
    import torch
    from transformers import AutoConfig

    made_of = type(AutoConfig.for_model(kind))
    fields = {*inspect.signature(made_of).parameters, *made_of.attribute_map}
    settings = {"model_type": kind, "vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    settings |= {name: value for name, value in architectures.CONFIGS[kind].items() if name in fields}
    dims = {"batch": Dim(1, 2, 4), "sequence": Dim(1, 7, 48), "past": Dim(0, 5, 48)}
    task = "transformers.AutoModelForCausalLM"
    loaded = run_stage(LoadCausalLm(task, settings, "random", None, None, True, 0, dims, None), {}, tmp_path / "loaded")
    loaded.live.eval()
    inputs = {"module": loaded, "reference": Artifact(Kind.REFERENCE, facts=loaded.facts)}
    artifact = run_stage(stage(count=3, length=40), inputs, tmp_path / "made")
    texts_read = texts.read(artifact)
    tokens = torch.from_numpy(texts_read.tokens)
    with torch.no_grad():
        loss = loaded.live.decoder(input_ids=tokens, labels=tokens).loss
    assert texts_read.perplexity == pytest.approx(float(loss.exp()), rel=1e-4)


def test_texts_beyond_the_positions_are_refused_with_what_fits(tmp_path):
    with pytest.raises(ConfigError, match="texts have 97 tokens, and the model 96 positions") as caught:
        record(tmp_path / "made", length=97)
    assert caught.value.problems[0].command == "stages.texts.length=96"


def test_a_text_is_read_when_it_is_planned_and_what_is_no_text_is_refused_before_any_work(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    planned = stage(source="text", path=str(tmp_path / "a.txt"))
    before = planned.identity(world(tmp_path))
    (tmp_path / "a.txt").write_text("other")
    assert planned.identity(world(tmp_path)) != before
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        stage(source="text", path="nowhere.txt").settle(world(tmp_path))
    assert caught.value.problems[0].command == "model.evaluation.path=FILE.txt"
    (lacking,) = stage(source="text").problems()
    assert lacking.command == "model.evaluation.path=FILE.txt"
    (unknown,) = stage(source="images").problems()
    assert unknown.allowed == "text; null for texts of the model's own"


def test_a_text_without_a_tokenizer_is_refused_with_what_needs_none(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(StageError, match="without a tokenizer") as caught:
        record(tmp_path / "made", source="text", path=str(tmp_path / "a.txt"))
    assert caught.value.problems[0].command.startswith("model.evaluation.source=null")


@pytest.mark.slow  # loads transformers
def test_a_text_becomes_pieces_by_the_models_own_tokenizer(tmp_path):
    from tokenizers import Tokenizer

    (tmp_path / "a.txt").write_text("".join(chr(32 + n % 64) for n in range(300)))
    ids = Tokenizer.from_file(str(EXAMPLE / "tokenizer.json")).encode((tmp_path / "a.txt").read_text()).ids
    pieces = [ids[n : n + 20] for n in range(0, len(ids) - 19, 20)]
    settings = {"source": "text", "path": str(tmp_path / "a.txt"), "length": 20}
    files = Artifact(MODEL_FOLDER, EXAMPLE)
    stage_ = stage(**settings)
    assert len(pieces) > 4
    assert stage_._read(files).tolist() == pieces[:16]
    some = stage(**settings, count=4)._read(files).tolist()
    assert [len(some), *(piece in pieces for piece in some)] == [4, True, True, True, True]
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(StageError, match="a piece of it has 20"):
        stage(**settings)._read(files)
