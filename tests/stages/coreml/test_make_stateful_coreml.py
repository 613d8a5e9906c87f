"""coreml/make_stateful_coreml.py: a cache becomes states that last from call to call; faults in it are caught."""

from dataclasses import replace
from pathlib import Path

import decoders
import fixed_decoder
import numpy as np
import pytest
import torch
from fixed_decoder import NAMES, SHAPE, masked_one_short, written_one_on
from harness import backend, reference_in, run_stage, shipped, tolerance

from pipeline.errors import CheckFailed, StageError
from stages.coreml import runtime
from stages.coreml.mil import evaluate, read
from stages.coreml.mil.program import Function
from stages.formats import session
from stages.interface.generation import Cache
from stages.portable import generating

TOLERANCE = tolerance("fp16_cache")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    backend("coremltools")
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def plain(house):
    return fixed_decoder.package(house)


@pytest.fixture(scope="module")
def stateful(plain, house):
    return fixed_decoder.stateful(plain, house / "stateful")


@pytest.fixture(scope="module")
def tokens(house):
    stage = shipped("record_tokens", prompts=[1, 11], tokens=5, seed=0, logits=True)
    return run_stage(stage, decoders.record_inputs(), house / "tokens")


def check(artifact, reference, into):
    settings = {"compute": "float32", "properties": {}, "extensions": [], "tolerance": TOLERANCE, "blame": False}
    return run_stage(shipped("check", **settings), {"artifact": artifact, "reference": reference}, into)


def recorded(tokens):
    return sum(len(row) for b in generating.read_tokens(tokens.file).batches for row in b.tokens)


def generates(stateful_package, tokens, into):
    folder = fixed_decoder.folder_of(stateful_package, into / "folder")
    settings = {"tolerance": TOLERANCE, "compute": "float32", "properties": {}, "extensions": [], "ours": False}
    return run_stage(shipped("check_generation", **settings), {"artifact": folder, "tokens": tokens}, into / "made")


def test_what_it_answers_and_keeps_is_what_the_package_before_it_did(stateful, house, tmp_path):
    figures = check(stateful, reference_in(house), tmp_path / "checked").notes["parity"]
    assert figures["properties"]["executed_by"] == "reference evaluator"
    assert set(read.read(stateful.file).functions["main"].gives) == {"logits"}


def test_a_prompt_in_pieces_and_single_tokens_go_on_as_the_model_does_with_its_logits(stateful, tokens, tmp_path):
    checked = generates(stateful, tokens, tmp_path)
    figures, claim = checked.notes["generation"], checked.notes["claims"]["tokens"]
    assert figures["equal"] == recorded(tokens)
    assert figures["logits"].keys() == {"1 token", "11 tokens"}  # a call takes 8
    assert 0 < max(figures["logits"].values()) < TOLERANCE.max_rel
    assert claim["by_ours"] == "Core ML runs programs, and leaves picking tokens to the caller"
    assert {"README.md", "model.mlpackage"} <= {p.name for p in (tmp_path / "folder").iterdir()}


FAULTS = [written_one_on, masked_one_short]


@pytest.mark.slow  # the operator is looked for
@pytest.mark.parametrize("fault", FAULTS)
def test_a_cache_that_is_one_off_is_caught_by_the_check(fault, stateful, house, tmp_path):
    spoiled = fixed_decoder.changed(stateful, tmp_path / "spoiled", fault)
    with pytest.raises(CheckFailed, match="does not agree with the PyTorch model"):
        check(spoiled, reference_in(house), tmp_path / "checked")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cache_that_is_one_off_is_caught_by_what_follows(fault, stateful, tokens, tmp_path):
    spoiled = fixed_decoder.changed(stateful, tmp_path / "spoiled", fault)
    with pytest.raises(
        CheckFailed, match=r"does not continue as the PyTorch model does(.|\n)*tokens one by one: output"
    ):
        generates(spoiled, tokens, tmp_path)


def test_states_are_kept_between_calls_and_another_text_begins_with_zeros(stateful):
    program = read.read(stateful.file)
    states = evaluate.states(program)
    inputs = {"input_ids": np.int32([[3, 4, 5]]), "position": np.int32([0])}
    first = evaluate.evaluate(program, inputs, memory=states)["logits"]
    assert states[NAMES[0]].array[0, :, :3].any()
    assert not states[NAMES[0]].array[0, :, 3:].any()
    more = evaluate.evaluate(program, {"input_ids": np.int32([[6]]), "position": np.int32([3])}, memory=states)[
        "logits"
    ]
    whole = fixed_decoder.Fixed().eval()(
        torch.tensor([[3, 4, 5, 6]]), torch.tensor([0]), *(torch.ones(SHAPE) for _ in NAMES)
    )[0]
    logits = np.concatenate([first, more], 1)
    assert np.abs(logits - whole.detach().numpy()).max() < 5e-3 * np.abs(logits).max()
    assert np.array_equal(evaluate.evaluate(program, inputs)["logits"], first)


@pytest.mark.slow
def test_a_program_of_float16_reads_and_writes_its_states_without_a_cast(tmp_path, tokens):
    package = fixed_decoder.stateful(fixed_decoder.package(tmp_path, "float16"), tmp_path / "stateful")
    function: Function = read.read(package.file).functions["main"]
    operations = {o.outputs[0][0]: o for o in function.block.operations if o.outputs}
    updates = [o for o in function.block.operations if o.type == "slice_update"]
    assert {operations[o.inputs["x"][0]].type for o in updates} == {"read_state"}
    written = [o.inputs["data"][0] for o in function.block.operations if o.type == "write_state"]
    assert {operations[name].type for name in written} == {"slice_update"}
    settings = {"tolerance": tolerance("fp16"), "compute": "float16", "properties": {}, "extensions": [], "ours": False}
    folder = fixed_decoder.folder_of(package, tmp_path / "folder")
    run_stage(shipped("check_generation", **settings), {"artifact": folder, "tokens": tokens}, tmp_path / "checked")


@pytest.mark.slow
def test_a_package_of_enumerated_lengths_is_fed_in_calls_of_these(tmp_path, tokens):
    plain = fixed_decoder.package(tmp_path, shapes="enumerated", sizes=[{"sequence": 1}, {"sequence": 4}])
    checked = generates(fixed_decoder.stateful(plain, tmp_path / "stateful"), tokens, tmp_path)
    assert checked.notes["generation"]["equal"] == recorded(tokens)


def test_a_cache_that_the_package_lacks_is_told(plain, tmp_path):
    more = replace(fixed_decoder.GENERATION, cache=[Cache("key_cache_9", "key_cache_9_new", "attention", None)])
    with pytest.raises(StageError, match="no key_cache_9, key_cache_9_new, which should be part of its cache"):
        fixed_decoder.stateful(replace(plain, facts={**plain.facts, **more.facts}), tmp_path / "made")


@pytest.mark.parametrize("stage", ["make_stateful_coreml", "fix_cache"])
def test_a_system_without_states_is_refused_before_any_work(stage):
    cache = {"length": None, "dims": fixed_decoder.DIMS, "weights": "random", "kwargs": {}}
    more = cache if stage == "fix_cache" else {}
    (problem,) = shipped(stage, deployment_target="macOS14", **more).problems()
    assert problem.what == "deployment_target is macOS14, which does not have states"
    assert problem.command == "stages.compile.deployment_target=macOS15"


class StandIn:
    """The part of coremltools' MLModel that is used here, with the evaluator instead of Core ML."""

    def __init__(self, path, compute_units):
        self.program = read.read(Path(path))

    def make_state(self):
        return StandInState(evaluate.states(self.program))

    def predict(self, data, state):
        return dict(evaluate.evaluate(self.program, data, memory=state.states))


class StandInState:
    def __init__(self, states):
        self.states = states

    def read_state(self, name):
        return self.states[name].array

    def write_state(self, name, value):
        assert value.dtype == np.float16
        self.states[name].array = value


def test_where_core_ml_is_its_own_states_are_written_and_read(stateful, house, tmp_path, monkeypatch):
    import coremltools

    monkeypatch.setattr(runtime, "has_core_ml", lambda: True)
    monkeypatch.setattr(coremltools.models, "MLModel", StandIn)
    figures = check(stateful, reference_in(house), tmp_path / "checked").notes["parity"]
    assert figures["properties"] == {"executed_by": "Core ML", "compute_units": "CPU_ONLY"}


def test_a_session_takes_no_properties(stateful):
    with pytest.raises(StageError, match="KEPT"):
        session.open_session(stateful, "float32", properties={"KEPT": "1"})
