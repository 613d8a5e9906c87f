"""reference/record_reference.py, and the files of stages/reference/cases.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import (
    BATCH,
    BATCH_SEQ,
    IMAGE,
    TOKENS,
    VECTOR,
    contents,
    module,
    record,
    run_stage,
    tolerance,
    world,
)
from nets import Attention, FixedBatch, TinyConv, TwoOutputs, WritesIntoItsInput
from torch import nn

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, ConfigError, StageError
from stages.interface.interface import Dim, Input, Interface
from stages.reference import cases as reference_cases
from stages.reference import parity
from stages.reference.record_reference import RecordReference


def stage(inputs=IMAGE, *, dims=BATCH, outputs=None, call=None, seed=0):
    return RecordReference(inputs, dims, outputs, call, None, False, None, [], seed, "quick", None, 16)


class Returns(nn.Module):
    """Returns what it is told to."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


def test_answers_are_recorded_at_the_example_the_bounds_and_an_odd_size(reference):
    shapes = {c.label: (c.inputs["input"].shape, c.outputs["logits"].shape) for c in reference_cases.read(reference)}
    sizes = {"example": 2, "min": 1, "odd": 3, "max": 8}
    assert shapes == {label: ((n, 3, 32, 32), (n, 10)) for label, n in sizes.items()}


def test_answers_are_the_eager_modules_own(reference, tiny):
    for case in reference_cases.read(reference):
        answer = tiny.live(torch.from_numpy(case.inputs["input"]))
        np.testing.assert_array_equal(case.outputs["logits"], answer.numpy())


class Total(nn.Module):
    """A sum over so much that its last bits tell how many threads shared it."""

    def forward(self, x):
        return x.sum()[None]


def test_answers_are_the_same_bytes_however_many_threads_there_are(tmp_path):
    before, digests = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            reference = record(Total(), tmp_path / str(threads), inputs={"x": Input(["batch", 3, 128, 128])})
            digests.append(contents(reference.folder))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert digests == [digests[0]] * 3


def test_every_dynamic_dimension_is_varied(tmp_path):
    reference = record(Attention(), tmp_path / "out", inputs=TOKENS, dims=BATCH_SEQ, outputs=["encoded"])
    shapes = {c.label: c.outputs["encoded"].shape for c in reference_cases.read(reference)}
    assert shapes == {"example": (2, 4, 8), "min": (1, 2, 8), "odd": (3, 5, 8), "max": (8, 16, 8)}


def test_outputs_get_their_names_in_order(tmp_path):
    reference = record(TwoOutputs(), tmp_path / "out", outputs=["logits", "features"])
    case = next(reference_cases.read(reference))
    assert {n: v.shape for n, v in case.outputs.items()} == {"logits": (2, 10), "features": (2, 4, 32, 32)}


def test_inputs_are_given_in_the_order_of_the_yaml(tmp_path):
    class Minus(nn.Module):
        def forward(self, b, a):
            return b - a

    inputs = {"b": Input(["batch", 4]), "a": Input(["batch", 4])}
    case = next(reference_cases.read(record(Minus(), tmp_path / "out", inputs=inputs, outputs=["logits"])))
    np.testing.assert_array_equal(case.outputs["logits"], case.inputs["b"] - case.inputs["a"])


def test_two_recordings_are_the_same_bytes(tiny, reference, tmp_path):
    again = record(tiny, tmp_path / "again", outputs=["logits"])
    assert contents(again.folder) == contents(reference.folder)


def test_another_seed_asks_something_else(tiny, reference, tmp_path):
    other = record(tiny, tmp_path / "other", outputs=["logits"], seed=1)
    assert contents(other.folder) != contents(reference.folder)


def test_a_model_that_writes_into_its_input_is_recorded_with_what_it_was_given(tmp_path):
    net = WritesIntoItsInput()
    case = next(reference_cases.read(record(net, tmp_path / "out", inputs=VECTOR, outputs=["logits"])))
    answer = net(torch.from_numpy(case.inputs["input"].copy())).detach()
    np.testing.assert_array_equal(case.outputs["logits"], answer.numpy())


def test_a_shape_that_the_model_rejects_is_named(tmp_path):
    with pytest.raises(StageError, match="the model rejects input 1x4 float32"):
        record(FixedBatch(), tmp_path / "out", inputs=VECTOR)


def test_a_wrong_number_of_channels_is_named(tmp_path):
    with pytest.raises(StageError, match=r"the model rejects input 2x4x32x32 float32: .*expected.*3 channels"):
        record(TinyConv(), tmp_path / "out", inputs={"input": Input(["batch", 4, 32, 32])})


def test_outputs_of_every_form_are_recorded_under_names_made_of_their_paths(tmp_path):
    net = Returns(lambda x: {"out": x.mean((2, 3)), "maps": [x, None]})
    reference = record(net, tmp_path / "out")
    assert {n: o.shape for n, o in Interface.read(reference).outputs.items()} == {
        "out": ["batch", 3],
        "maps_0": ["batch", 3, 32, 32],
    }


def test_a_dimension_that_follows_no_input_one_to_one_is_left_open(tmp_path):
    reference = record(Returns(lambda x: x.reshape(-1, 4)), tmp_path / "out")
    (output,) = Interface.read(reference).outputs.values()
    assert (output.shape, output.dtype) == ([None, 4], "float32")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x: (x, x), r"outputs names 1 \(logits\), the model returns 2"),
        (lambda x: {"logits": x} if len(x) < 4 else {"scores": x}, "'logits' is returned at some sizes"),
        (lambda x: x.bfloat16(), "'logits' has a type that no target shares"),
        (lambda x: x.no_such_method(), "the model rejects input 2x3x32x32 float32: AttributeError"),
    ],
    ids=["two", "not always", "bfloat16", "broken"],
)
def test_outputs_that_cannot_be_recorded_are_refused(tmp_path, make, says):
    with pytest.raises(StageError, match=says):
        record(Returns(make), tmp_path / "out", outputs=["logits"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x: torch.zeros(x.shape[0], 10), "logits: the model answers the same"),
        (lambda x: x[x > 2], "logits: the model answers the same to every input, or nothing"),
        (lambda x: x.mean((2, 3)) * float("nan"), "logits: NaN or infinite throughout"),
        (lambda x: x.mean((2, 3)) / 0, "logits: NaN or infinite throughout"),
        (lambda x: (x.mean((2, 3)) + 1e7) - 1e7, "logits: decided by rounding"),
    ],
    ids=["constant", "nothing", "NaN", "infinite", "rounding"],
)
def test_a_model_whose_answers_say_nothing_proves_nothing(tmp_path, make, says):
    with pytest.raises(CheckFailed, match=says):
        record(Returns(make), tmp_path / "out", outputs=["logits"])


def test_one_output_may_be_the_same_for_every_input(tmp_path):
    net = Returns(lambda x: (x.mean((2, 3)), torch.ones(x.shape[0], 2), x.mean((2, 3)) / 0))
    reference = record(net, tmp_path / "out", outputs=["means", "ones", "over"])
    message = "; over NaN or infinite throughout; ones the same for every input"
    assert reference.notes["says"] == f"4 shapes; outputs means, ones, over{message}"


def test_nothing_is_left_of_a_refused_recording(tmp_path):
    with pytest.raises(StageError):
        record(FixedBatch(), tmp_path / "out", inputs=VECTOR)
    assert contents(tmp_path / "out") == {}


def test_what_it_is_called_with_is_part_of_the_key_in_its_order(tmp_path):
    there = world(tmp_path)
    first = stage({"a": Input([2]), "b": Input([2])}, dims={}).identity(there)
    other = stage({"b": Input([2]), "a": Input([2])}, dims={}).identity(there)
    assert (first["inputs"], first["order"]) != (other["inputs"], other["order"])


def test_a_file_enters_the_key_by_its_content(tmp_path):
    def identity(name, values):
        np.save(tmp_path / name, np.asarray(values, np.float32))
        return stage({"x": Input([2], fill={"file": str(tmp_path / name)})}, dims={}).identity(world(tmp_path))

    first, moved, other = identity("a.npy", [1, 2]), identity("b.npy", [1, 2]), identity("c.npy", [1, 3])
    assert first == moved != other
    assert "a.npy" not in str(first)


def test_a_file_that_is_not_there_is_found_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"inputs\.x\.fill: .*gone\.npy cannot be read"):
        stage({"x": Input([2], fill={"file": str(tmp_path / "gone.npy")})}, dims={}).settle(world(tmp_path))


def test_a_factory_enters_the_key_by_its_code(tmp_path):
    there = stage({"x": Input([2], fill={"factory": "numpy.ones"})}, dims={}).identity(world(tmp_path))
    assert there["inputs"]["x"]["fill"]["code"] == {"distribution": "numpy", "version": np.__version__}


@pytest.mark.parametrize("name", ["1.input", "lambda", "é"])
def test_a_name_that_no_graph_takes_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=f"inputs names '{name}'"):
        record(TinyConv(), tmp_path / "out", inputs={name: IMAGE["input"]})


def test_inputs_that_nobody_names_are_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="inputs is null, and TinyConv does not say what it takes"):
        record(TinyConv(), tmp_path / "out", inputs=None)


SMALL = {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXT_DIMS = {"batch": Dim(1, 2, 3), "sequence": Dim(2, 4, 8), "decoder_sequence": Dim(2, 3, 5)}


@pytest.mark.parametrize(
    ("task", "config", "inputs"),
    [
        (
            "AutoModelForSequenceClassification",
            {"model_type": "bert", **SMALL},
            {name: ["batch", "sequence"] for name in ("input_ids", "attention_mask", "token_type_ids")},
        ),
        (
            "AutoModelForImageClassification",
            {"model_type": "vit", **SMALL, "image_size": 16, "patch_size": 8},
            {"pixel_values": ["batch", 3, 16, 16]},
        ),
        (
            "AutoModelForSeq2SeqLM",
            {
                "model_type": "t5",
                "d_model": 16,
                "d_kv": 8,
                "d_ff": 16,
                "num_layers": 1,
                "num_heads": 2,
                "vocab_size": 99,
            },
            {
                "input_ids": ["batch", "sequence"],
                "attention_mask": ["batch", "sequence"],
                "decoder_input_ids": ["batch", "decoder_sequence"],
            },
        ),
    ],
    ids=["text", "image", "text to text"],
)
def test_a_transformers_model_says_its_own_inputs(tmp_path, task, config, inputs):
    import transformers

    net = getattr(transformers, task).from_config(transformers.AutoConfig.for_model(**config))
    reference = record(
        net, tmp_path / "out", inputs=None, dims=TEXT_DIMS, call={"kwargs": {"output_attentions": False}}
    )
    interface = Interface.read(reference)
    assert {n: s.shape for n, s in interface.inputs.items()} == inputs
    assert set(interface.dims) == {d for shape in inputs.values() for d in shape if isinstance(d, str)}
    assert interface.call["kwargs"]["output_attentions"] is False


def test_a_dimension_that_a_transformers_model_needs_is_asked_for(tmp_path):
    import transformers

    net = transformers.BertModel(transformers.BertConfig(**SMALL))
    with pytest.raises(ConfigError, match=r"(?s)dims has no sequence, which BertModel needs.*\+model\.dims\.sequence="):
        record(net, tmp_path / "out", inputs=None, dims=BATCH)


def test_dimensions_are_held_to_sense_whoever_names_the_inputs():
    problems = stage(None, dims={"batch": Dim(1, 2, 1), "side": Dim(32, 32, 64, 0)}).problems()
    assert [p.what.partition(" ")[0] for p in problems] == ["dims.batch", "dims.side"]


@pytest.mark.parametrize(("call", "says"), [({"args": [1]}, "call has args"), ({"kwargs": {"x": "y"}}, "names 'y'")])
def test_a_call_that_does_not_fit_the_models_own_inputs_is_refused(tmp_path, call, says):
    import transformers

    net = transformers.BertModel(transformers.BertConfig(**SMALL))
    with pytest.raises(ConfigError, match=says):
        record(net, tmp_path / "out", inputs=None, dims=TEXT_DIMS, call=call)


def test_a_further_shape_that_is_asked_anyway_is_asked_once(tmp_path):
    stage = RecordReference(
        IMAGE, BATCH, None, None, None, False, None, [{"input": [2, 3, 32, 32]}] * 2, 0, "quick", None, 16
    )
    reference = run_stage(stage, module(TinyConv()), tmp_path / "reference")
    assert [c.label for c in reference_cases.read(reference)] == ["example", "min", "odd", "max"]


def with_samples(rows, count, folder):
    np.savez(folder / "real.npz", input=rows)
    how = RecordReference(
        VECTOR, BATCH, ["y"], None, None, False, None, [], 0, "quick", str(folder / "real.npz"), count
    )
    return run_stage(how, module(nn.Linear(4, 3)), folder / "reference")


@pytest.mark.parametrize(("rows", "count", "batches"), [(3, 16, [3]), (20, 16, [8, 8]), (20, 9, [8, 1])])
def test_samples_are_asked_in_batches_behind_the_draws(rows, count, batches, tmp_path):
    real = np.random.default_rng(1).standard_normal((rows, 4)).astype(np.float32)
    reference = with_samples(real, count, tmp_path)
    cases = [c for c in reference_cases.read(reference) if c.family == "draws"]
    assert [len(c.inputs["input"]) for c in cases] == batches
    assert {r.tobytes() for c in cases for r in c.inputs["input"]} <= {r.tobytes() for r in real}
    assert reference.notes["says"].startswith(f"4 shapes, {len(batches)} batches of samples; outputs y")


def test_a_fault_that_real_samples_alone_show_is_found(tmp_path):
    reference = with_samples(np.full((2, 4), 7, np.float32), 16, tmp_path)
    right = {c.inputs["input"].tobytes(): c.outputs["y"] for c in reference_cases.read(reference)}
    result = parity.measure(
        Artifact(Kind.MODULE),
        lambda arrays: {"y": right[arrays["input"].tobytes()] * (2.0 if (arrays["input"] == 7).any() else 1.0)},
        reference,
        tolerance("int8"),
    )
    assert {sentence.partition(" (")[0] for sentence in result.wrong} == {"samples 1"}


@pytest.mark.parametrize(
    ("side", "effort", "expected"), [(32, "standard", True), (224, "standard", False), (224, "thorough", True)]
)
def test_one_short_of_the_largest_is_asked_where_it_costs_little(side, effort, expected, tmp_path):
    pictures = {"x": Input(["batch", 3, side, side])}
    reference = record(Returns(lambda x: x.mean(1)), tmp_path / "out", inputs=pictures, effort=effort)
    assert ("batch one short" in {c.label for c in reference_cases.read(reference)}) is expected
