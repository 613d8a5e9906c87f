"""checking/perplexity.py: folders find texts as likely as the model does, and a spoiled one is told by its layer."""

from dataclasses import replace

import decoders
import numpy as np
import onnx
import pytest
from conversions import edited, made_of
from harness import backend, run_stage, shipped
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifact import Artifact, Kind
from pipeline.errors import CHECK_FAILED, CheckFailed
from stages.formats import ignored


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    inputs = {"module": decoders.module(), "reference": Artifact(Kind.REFERENCE, facts=decoders.facts())}
    stage = shipped("record_texts", source=None, path=None, count=4, length=24, seed=0)
    return run_stage(stage, inputs, tmp_path_factory.mktemp("texts") / "made")


def laid_out(graph, folder):
    backend("onnxruntime_genai")
    return run_stage(shipped("lay_out_onnx"), graph, folder)


@pytest.fixture(scope="module")
def ir(decoder_ir, tmp_path_factory):
    backend("openvino_genai")
    more = tmp_path_factory.mktemp("made")
    stateful = run_stage(shipped("make_stateful", cache="float32"), decoder_ir, more / "stateful")
    return run_stage(shipped("lay_out_openvino"), stateful, more / "folder")


def measure(folder, texts, into, graph=None, **settings):
    stage = shipped("perplexity", **{"max_ratio": 1.0001, "blame": False, **settings})
    inputs = {"artifact": folder, "texts": texts, **({"graph": graph} if graph else {})}
    return run_stage(stage, inputs, into)


def test_a_folder_of_the_same_numbers_is_as_good_and_goes_on_as_it_is(decoder_graph, ir, texts, tmp_path):
    for which, folder in (("onnx", laid_out(decoder_graph, tmp_path / "onnx")), ("ir", ir)):
        parity = measure(replace(folder, digest="d" * 64), texts, tmp_path / f"of_{which}")
        perplexity = parity.notes["perplexity"]
        assert (parity.folder, parity.digest) == (folder.folder, "d" * 64)
        assert perplexity["ratio"] == pytest.approx(1, abs=1e-4)
        assert (abs(perplexity["kl"]) < 1e-6, perplexity["agreement"], perplexity["tokens"]) == (True, 1.0, 4 * 23)
        assert 1 < perplexity["value"] < decoders.VOCABULARY
        claim = {"texts": "the model's own", "tokens": 92, "max_ratio": 1.0001, "compute": "float32"}
        assert parity.notes["claims"] == {"perplexity": claim}


def in_few_bits(spoiled):
    """Each matrix of a graph as int8 with a scale; of one, the scale is wrong."""

    def change(model):
        graph, weights = model.graph, {i.name: i for i in model.graph.initializer}
        for node in [n for n in graph.node if n.op_type == "MatMul" and n.input[1] in weights]:
            name = node.input[1]
            values = numpy_helper.to_array(weights[name])
            scale = np.float32(np.abs(values).max() / 127)
            graph.initializer.remove(weights.pop(name))
            graph.initializer.append(numpy_helper.from_array((values / scale).round().astype(np.int8), name))
            scale *= -3 if spoiled and spoiled == node.name else 1
            graph.initializer.append(helper.make_tensor(f"{name}_scale", TensorProto.FLOAT, [], [scale]))
            graph.node.insert(0, helper.make_node("DequantizeLinear", [name, f"{name}_scale"], [f"{name}_back"]))
            node.input[1] = f"{name}_back"

    return change


def lowered(graph, folder, spoiled=None):
    changed = edited(graph, folder, in_few_bits(spoiled))
    nothing = {ignored.FACT: {"names": [], "patterns": [], "types": []}}
    return made_of(replace(changed, facts={**graph.facts, **nothing}), graph)


def test_a_spoiled_layer_fails_the_gate_and_is_named_for_what_it_does_to_the_logits(decoder_graph, texts, tmp_path):
    products = [n.name for n in onnx.load(decoder_graph.file).graph.node if n.op_type == "MatMul"]
    (spoiled,) = [name for name in products if name.startswith("/out.1/")]
    good, bad = lowered(decoder_graph, tmp_path / "good"), lowered(decoder_graph, tmp_path / "bad", spoiled)
    parity = measure(laid_out(good, tmp_path / "g"), texts, tmp_path / "of_good", good, max_ratio=1.05, blame=True)
    assert 1e-7 < parity.notes["perplexity"]["kl"] < 1e-2
    assert parity.notes["blame"]["stage"] == "quantize"
    folder = laid_out(bad, tmp_path / "b")
    with pytest.raises(CheckFailed, match=r"^\d[\d.]*, \d[\d.]* times the PyTorch model's") as caught:
        measure(folder, texts, tmp_path / "of_bad", bad, max_ratio=1.05)
    (problem,) = caught.value.problems
    assert (caught.value.exit_code, problem.allowed) == (CHECK_FAILED, "1.05 times the model's at most")
    assert f"brought in by {spoiled} (MatMul, " in problem.what
    assert spoiled in problem.command
    assert measure(folder, texts, tmp_path / "free", max_ratio=None).notes["perplexity"]["ratio"] > 1.05


def test_numbers_that_are_none_fail_without_any_gate(decoder_graph, texts, tmp_path):
    def spoil(model):
        weight = next(i for i in model.graph.initializer if i.name == "tokens.weight")
        weight.CopyFrom(numpy_helper.from_array(np.full(weight.dims, np.nan, np.float32), weight.name))

    folder = laid_out(edited(decoder_graph, tmp_path / "nan", spoil), tmp_path / "folder")
    with pytest.raises(CheckFailed, match=r"^nan, nan times") as caught:
        measure(folder, texts, tmp_path / "made", max_ratio=None)
    assert caught.value.problems[0].allowed == "numbers"
