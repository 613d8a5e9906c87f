"""onnx/cast.py: the precision is in the graph, and its outputs are within the shipped tolerance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from command_line import Shop
from conversions import export, made_of, quantized
from harness import BATCH, NOTHING_IGNORED, backend, module, reference_in, run_stage, tolerance
from torch import nn

from pipeline.errors import CheckFailed
from stages.checking.audit import Audit
from stages.checking.check import Check
from stages.formats import graphs as stored
from stages.interface.interface import Dim, Input
from stages.onnx.cast_bf16 import CastBf16
from stages.onnx.cast_fp16 import CastFp16
from stages.samples.draw_samples import DrawSamples
from stages.tensorrt.assess_tensorrt import AssessTensorrt

PICTURE = {"input": Input(["batch", 3, 32, 32])}
TEXT = {"input_ids": Input(["batch", "sequence"], "int64", {"integers": [0, 60]})}


class Bert(nn.Module):
    """A small BERT's scores for a text."""

    def __init__(self) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        self.net = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=60, **sizes))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.net(input_ids=input_ids).logits


def vit():
    net = torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)
    nn.init.normal_(net.heads.head.weight)  # zeros otherwise
    return net


MODELS = {
    "resnet": (lambda: torchvision.models.resnet18(weights=None, num_classes=10), PICTURE, BATCH),
    "vit": (vit, PICTURE, BATCH),
    "bert": (Bert, TEXT, {**BATCH, "sequence": Dim(2, 8, 16)}),
}
# By precision: the opset, what makes it, what it computes in, and the types of weights or operations that prove it.
PRECISIONS = {
    "fp32": (18, None, "float32", "float32"),
    "fp16": (18, CastFp16(NOTHING_IGNORED, ["Exp", "Pow", "ReduceSum"]), "float16", "float16"),
    "bf16": (22, CastBf16(NOTHING_IGNORED), "bfloat16", "bfloat16"),
    "int8": (18, "quantize", "float32", "int8"),
}


@pytest.fixture(scope="module", params=MODELS)
def graphs(request, tmp_path_factory):
    """A model's graph at an opset, exported once for each."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    make, inputs, dims = MODELS[request.param]
    net, exported = module(make()), {}

    def at(opset):
        if opset not in exported:
            place = folder / str(opset)
            exported[opset] = export("export", net, place, opset=opset, inputs=inputs, dims=dims), reference_in(place)
        return exported[opset]

    return at


# Of small models: test_cast_fp16, test_cast_bf16, stages/quantization, stages/delivery/test_bundle_tensorrt.
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_graph_of_each_precision_agrees_and_is_ready_for_tensorrt(graphs, precision, tmp_path):
    opset, how, compute, dtype = PRECISIONS[precision]
    graph, reference = graphs(opset)
    if how == "quantize":
        backend("nncf")
        samples = run_stage(DrawSamples({"source": "random"}, 16, None, 0), reference, tmp_path / "samples")
        kind = None if "Conv" in {n.type for n in stored.read(graph).nodes.values()} else "transformer"
        graph = quantized(graph, samples, tmp_path / "made", symmetric=True, model_type=kind)
    elif how is not None:
        graph = made_of(run_stage(how, graph, tmp_path / "made"), graph, "cast")
    check = Check(compute, {}, [], tolerance(precision), False)
    run_stage(check, {"artifact": graph, "reference": reference}, tmp_path / "check")
    run_stage(AssessTensorrt(["10", "11"], [], None), graph, tmp_path / "assess")
    run_stage(Audit({}, {dtype: 0.6}, []), graph, tmp_path / "audit")


class LargeLogits(nn.Module):
    """Scores beyond float16 before a softmax, as in attention without scaling."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.softmax(self.scores(x) * 3e5, dim=-1))


def test_large_logits_before_a_softmax_are_caught_with_the_nodes_named_and_can_be_kept(tmp_path):
    torch.manual_seed(0)
    graph = export("export", LargeLogits(), tmp_path, inputs={"x": Input(["batch", 8], fill="normal")})
    check, reference = Check("float16", {}, [], tolerance("fp16"), False), {"reference": reference_in(tmp_path)}
    cast = CastFp16(NOTHING_IGNORED, [])
    half = made_of(run_stage(cast, graph, tmp_path / "half"), graph, "cast")
    with pytest.raises(CheckFailed) as caught:
        run_stage(check, {"artifact": half, **reference}, tmp_path / "check")
    assert "Mul" in caught.value.problems[0].what
    command = caught.value.problems[0].command
    names = command.partition("ignored.names=[")[2].partition("]")[0].replace('"', "").split(",")
    careful = replace(cast, ignored=replace(NOTHING_IGNORED, names=[*names, *softmax(graph)]))
    mixed = made_of(run_stage(careful, graph, tmp_path / "kept"), graph, "cast")
    run_stage(check, {"artifact": mixed, **reference}, tmp_path / "again")


def softmax(graph):
    import onnx

    return [n.name for n in onnx.load(graph.file).graph.node if n.op_type == "Softmax"]


BERT = ["model=transformers", "model.factory=transformers.AutoModelForSequenceClassification", "model.weights=random"]
BERT += ["model.name=bert", "+model.kwargs.model_type=bert"]
# Of twelve random layers in 8 bits too little is left of two scores, and the check says so.
SIZES = {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
BERT += [f"+model.kwargs.{name}={size}" for name, size in SIZES.items()]


@pytest.mark.slow
@pytest.mark.parametrize("model", [["model=resnet50"], ["model=vit_b_16"], BERT], ids=["resnet50", "vit_b_16", "bert"])
def test_whole_models_become_bundles_in_every_precision(model, tmp_path):
    shop = Shop(tmp_path)
    for precision in PRECISIONS:
        settings = ["target=tensorrt_bundle", f"precision={precision}", f"output={tmp_path / precision}", *model]
        done = shop.run(*settings, "model.weights=random")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / precision / "build.py").is_file()
