"""checking/audit.py: an artifact that is not of what was asked for does not get past it."""

from __future__ import annotations

from dataclasses import replace

import conversions
import decoders
import onnx
import pytest
from conversions import compressed, edited, quantized
from harness import CONF, run_stage
from omegaconf import OmegaConf

from pipeline.errors import CHECK_FAILED, CheckFailed
from stages.checking.audit import Audit
from stages.formats.ignored import Ignored
from stages.onnx.format import ONNX
from stages.openvino.format import OPENVINO


def audit(artifact, folder, weights=None, operations=None):
    return run_stage(Audit(weights or {}, operations or {}, []), artifact, folder / "audit")


def refused(artifact, folder, **shares):
    with pytest.raises(CheckFailed) as caught:
        audit(artifact, folder, **shares)
    assert caught.value.exit_code == CHECK_FAILED
    (problem,) = caught.value.problems
    assert "stages.audit.weights, .operations" in problem.command
    return problem.what


def shares(precision):
    """What a precision that ships asks for."""
    settings = OmegaConf.to_container(OmegaConf.load(CONF / "precision" / f"{precision}.yaml"))
    return {name: settings[name] for name in ("weights", "operations") if name in settings}


@pytest.fixture
def layer(kind):
    """The names by which the first convolution and the last product go."""
    return {
        ONNX: ("/model/features/0/Conv", "/model/classifier/3/Gemm"),
        OPENVINO: ("aten::_convolution/Convolution", "aten::linear/MatMul_1"),
    }[kind]


def test_what_was_built_is_counted_and_goes_on_as_it_is(digits, kind, tmp_path):
    int8 = replace(digits.int8(kind), digest="d" * 64)
    result = audit(int8, tmp_path)
    assert (result.folder, result.digest, result.facts) == (int8.folder, "d" * 64, int8.facts)
    assert result.notes == {
        "says": "weights int8 99.7%, float32 0.3%; operations int8 100.0%",
        "audit": {"weights": {"int8": 38160, "float32": 122}, "operations": {"int8": 4}},
        "claims": {"built": {"weights": {"int8": 38160, "float32": 122}, "operations": {"int8": 4}}},
    }


LOWERED = {
    "fp32": lambda digits, kind, folder: digits.graph(kind),
    "int8": lambda digits, kind, folder: digits.int8(kind),
    "int8_weights": lambda digits, kind, folder: compressed(digits.graph(kind), folder),
    "int4_weights": lambda digits, kind, folder: compressed(
        digits.onnx(21) if kind == ONNX else digits.graph(kind), folder, mode="int4_sym"
    ),
}


@pytest.mark.parametrize("audited_as", LOWERED)
@pytest.mark.parametrize("precision", LOWERED)
def test_a_precision_that_ships_passes_its_own_shares_and_not_anothers(digits, kind, tmp_path, precision, audited_as):
    artifact = LOWERED[precision](digits, kind, tmp_path / "made")
    if audited_as == precision or (precision, audited_as) == (
        "int8",
        "int8_weights",
    ):  # whose weights are in 8 bits, too
        audit(artifact, tmp_path, **shares(audited_as))
    else:
        assert f"this {kind} is not what was asked for" in refused(artifact, tmp_path, **shares(audited_as))


def test_a_layer_that_a_hand_left_in_float_is_found_and_told_by_shares(digits, tmp_path):
    def leave_one(model):
        gemm = model.graph.node[-1]
        (back,) = [n for n in model.graph.node if n.output[0] == gemm.input[0]]
        (to,) = [n for n in model.graph.node if n.output[0] == back.input[0]]
        gemm.input[0] = to.input[0]

    wrong = edited(digits.int8(ONNX), tmp_path / "wrong", leave_one)
    audit(wrong, tmp_path / "loose", operations={"int8": 0.75})
    assert refused(wrong, tmp_path, operations={"int8": 1.0}) == (
        "this onnx is not what was asked for: 75.0% of its operations are int8, at least 100% were asked for. "
        "It has weights int8 99.7%, float32 0.3%; operations int8 75.0%, float32 25.0%"
    )


def test_every_share_that_is_missed_is_told(digits, kind, tmp_path):
    message = refused(digits.graph(kind), tmp_path, weights={"int8": 0.5, "float32": 0.5}, operations={"int8": 0.1})
    assert "0.0% of its weights are int8, at least 50% were asked for" in message
    assert "0.0% of its operations are int8, at least 10% were asked for" in message
    assert "float32, at least" not in message


def test_what_was_to_be_left_alone_is_counted_and_not_held_to_a_share(digits, kind, layer, tmp_path):
    int8 = quantized(digits.graph(kind), digits.samples, tmp_path / "kept", ignored=Ignored(list(layer), [], []))
    result = audit(int8, tmp_path, weights={"int8": 0.99}, operations={"int8": 1.0})
    assert result.notes["audit"]["operations"] == {"float32": 2, "int8": 2}
    assert result.notes["audit"]["weights"]["float32"] == 122 + 144 + 640
    forgotten = replace(int8, facts={n: v for n, v in int8.facts.items() if n != "ignored"})
    assert "50.0% of its operations are int8" in refused(forgotten, tmp_path / "again", operations={"int8": 1.0})


def test_a_forgotten_head_is_named_whether_the_share_is_missed_or_not(kind, tmp_path):
    graph = decoders.words(tmp_path / "graph", tied=False)
    graph = graph if kind == ONNX else conversions.ir(graph, tmp_path / "ir")
    chosen = compressed(graph, tmp_path / "made", mode="int8_sym", head="float32")
    assert "caution" not in audit(chosen, tmp_path, weights={"int8": 0.9}).notes
    forgotten = replace(chosen, facts={n: v for n, v in chosen.facts.items() if n != "ignored"})
    name = "last" if kind == ONNX else "logits"
    ending = f"weights that are still in floating point: the head {name} (MatMul, 37.5% of all)"
    assert refused(forgotten, tmp_path / "refused", weights={"int8": 0.9}).endswith(f"; {ending}")
    assert audit(forgotten, tmp_path / "passed", weights={"int8": 0.5}).notes["caution"] == ending


def test_the_line_is_drawn_where_the_share_says(digits, kind, tmp_path):
    exactly = 38160 / 38282
    audit(digits.int8(kind), tmp_path, weights={"int8": exactly})
    refused(digits.int8(kind), tmp_path / "above", weights={"int8": exactly + 1e-9})


@pytest.mark.parametrize(
    ("shares", "says", "allowed"),
    [
        ({"weights": {"in8": 1.0}}, "weights names in8, did you mean 'int8'?", "float64, float32"),
        ({"operations": {"fp32": 1.0}}, "operations names fp32", "float64, float32"),
        ({"weights": {"int8": 1.01}}, "weights.int8 is 1.01", "a share from 0 to 1"),
        ({"operations": {"int4": -0.5}}, "operations.int4 is -0.5", "a share from 0 to 1"),
        ({"operations": {"int8": float("nan")}}, "operations.int8 is nan", "a share from 0 to 1"),
    ],
)
def test_unknown_types_and_impossible_shares_are_told_before_any_work(shares, says, allowed):
    (problem,) = Audit(**{"weights": {}, "operations": {}, "extensions": [], **shares}).problems()
    assert problem.what.startswith(says)
    assert problem.allowed.startswith(allowed)


@pytest.mark.parametrize(("kind", "needed"), [(ONNX, ("onnx",)), (OPENVINO, ("openvino",))])
def test_it_requires_what_reads_its_format(kind, needed):
    assert Audit({}, {}, []).modules({"artifact": kind}) == needed


def test_a_graph_that_has_nothing_to_count_is_called_that(digits, tmp_path):
    def bare(model):
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.append(onnx.helper.make_node("Relu", ["images"], ["scores"]))
        model.graph.output[0].type.CopyFrom(model.graph.input[0].type)

    result = audit(edited(digits.onnx(), tmp_path / "bare", bare), tmp_path, weights={"int8": 0.9})
    assert result.notes["caution"] == "nothing shows its precision: no weights"
