"""reference/conversation.py: a decoder is asked in mid-conversation, and what breaks there is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from decoder import DIMS, FAULTS, INPUTS, OUTPUTS, WINDOW, Decoder
from harness import module, record, tolerance

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, ConfigError
from stages.interface.generation import Generation
from stages.interface.interface import Dim, Interface
from stages.reference import cases as reference_cases
from stages.reference import parity


def recorded(net, folder, **settings):
    return record(net, folder, **{"inputs": INPUTS, "dims": DIMS, "outputs": OUTPUTS, **settings})


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return recorded(Decoder(), tmp_path_factory.mktemp("decoder") / "out", effort="standard")


def answers(net, inputs):
    with torch.no_grad():
        returned = net.eval()(*(torch.from_numpy(v.copy()) for v in inputs.values()))
    return dict(zip(OUTPUTS, (t.numpy() for t in returned), strict=True))


def test_what_was_said_before_is_the_models_own_cache(reference):
    past = {c.label: c.inputs["past.0.value"] for c in reference_cases.at_sizes(reference)}
    assert past["min"].shape[2] == 0
    possible = Decoder().attends(Decoder().table.weight)[:, -8:].reshape(-1, 2, 4)  # the values of every word
    for rows in past["max"].transpose(0, 2, 1, 3).reshape(-1, 2, 4):
        assert (possible - torch.from_numpy(rows)).abs().amax((1, 2)).min() < 1e-6


def test_the_outputs_follow_sums_and_the_cache_is_paired(reference):
    outputs = Interface.read(reference).outputs
    assert outputs["present.0.key"].shape == ["batch", 2, "past+sequence", 4]
    assert outputs["logits"].shape == ["batch", "sequence", 23]
    generation = Generation.read(reference)
    assert [(c.input, c.output, c.axis) for c in generation.cache] == [
        ("past.0.key", "present.0.key", 2),
        ("past.0.value", "present.0.value", 2),
    ]
    assert (generation.vocabulary, generation.kv_heads, generation.head_dim, generation.layers) == (23, 2, 4, 1)


def test_padding_does_not_count(reference):
    padded = 0
    for case in reference_cases.read(reference):
        mask = case.inputs["attention_mask"]
        logits = case.outputs["logits"]
        assert (logits[mask[:, -logits.shape[1] :] == 0] == 0).all()
        assert (case.outputs["present.0.key"].transpose(0, 2, 1, 3)[mask == 0] == 0).all()
        padded += int((mask == 0).sum())
    assert padded

    def scrambled(inputs):
        outputs = answers(Decoder(), inputs)
        outputs["logits"][inputs["attention_mask"][:, -outputs["logits"].shape[1] :] == 0] = np.nan
        return outputs

    assert parity.measure(Artifact(Kind.MODULE), scrambled, reference, tolerance("fp32")).wrong == []


@pytest.mark.parametrize(
    ("window", "sizes"), [(WINDOW, [(WINDOW - 1, 1), (WINDOW, 1), (0, WINDOW + 1)]), (40, [])], ids=["within", "beyond"]
)
def test_a_window_is_asked_at_its_end_and_beyond(reference, tmp_path, window, sizes):
    generation = replace(Generation.read(reference), window=window)
    reference_ = recorded(replace(module(Decoder()), facts=generation.facts), tmp_path / "out")
    cases = [c for c in reference_cases.at_sizes(reference_) if "window" in c.label]
    assert [(c.inputs["past.0.key"].shape[2], c.inputs["input_ids"].shape[1]) for c in cases] == sizes
    assert len(sizes) + sum("window" in label for label in reference_cases.not_asked(reference_)) == 3


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_an_artifact_is_found(reference, fault):
    net = Decoder(fault)

    def running(inputs):
        try:
            return answers(net, inputs)
        except RuntimeError as e:
            raise CheckFailed(str(e)) from e

    try:
        wrong = parity.measure(Artifact(Kind.MODULE), running, reference, tolerance("fp32")).wrong
    except parity.CannotRun as e:
        wrong = [e.label]
    assert wrong


@pytest.mark.parametrize("fault", ["mask dropped", "positions from zero", "cache joined in the wrong order"])
def test_a_decoder_that_goes_on_otherwise_than_it_began_is_no_reference(tmp_path, fault):
    with pytest.raises(CheckFailed, match=r"answers a text differently .* its cache, its positions or its mask"):
        recorded(Decoder(fault), tmp_path / "out")


def test_a_cache_of_an_output_that_there_is_not_is_refused(tmp_path):
    inputs = {**INPUTS, "past.0.key": replace(INPUTS["past.0.key"], fill={"cache": "present.0.kay"})}
    with pytest.raises(ConfigError, match=r"which is no output, did you mean 'present.0.key'"):
        recorded(Decoder(), tmp_path / "out", inputs=inputs)


def test_a_decoder_without_a_mask_is_asked_with_what_is_drawn(tmp_path):
    class Sums(torch.nn.Module):
        def forward(self, x, past):
            joined = torch.cat([past, x], 1)
            return joined.cumsum(1)[:, -x.shape[1] :], joined

    inputs = {"x": INPUTS["input_ids"], "past": INPUTS["past.0.key"]}
    inputs = {
        n: replace(s, shape=["batch", d], dtype="float32") for (n, s), d in zip(inputs.items(), ("n", "p"), strict=True)
    }
    inputs = {"x": replace(inputs["x"], fill="normal"), "past": replace(inputs["past"], fill={"cache": "present"})}
    dims = {"batch": Dim(1, 2, 3), "n": Dim(1, 3, 5), "p": Dim(0, 2, 4)}
    result = record(Sums(), tmp_path / "out", inputs=inputs, dims=dims, outputs=["y", "present"])
    assert any(c.inputs["past"].any() for c in reference_cases.read(result))
