"""A decoder with a cache in few lines, with spread-out weights, for tests of conversions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.artifact import Artifact, Kind
from stages.interface.generation import ATTENTION, Cache, Generation
from stages.interface.interface import Dim, Input, Interface, Output
from stages.onnx.format import ONNX

VOCABULARY, LAYERS, HEADS, WIDTH, POSITIONS = 96, 2, 2, 32, 96
PAD, BOS, EOS = 0, 1, 2
PAST = [f"past_key_values.{n}.{what}" for n in range(LAYERS) for what in ("key", "value")]
PRESENT = [f"present.{n}.{what}" for n in range(LAYERS) for what in ("key", "value")]
GENERATION = Generation(
    cache=[Cache(a, b, ATTENTION, 2) for a, b in zip(PAST, PRESENT, strict=True)],
    vocabulary=VOCABULARY,
    positions=POSITIONS,
    window=None,
    model_type="",
    eos=[EOS],
    bos=BOS,
    pad=PAD,
    layers=LAYERS,
    kv_heads=HEADS,
    head_dim=WIDTH // HEADS,
    heads=HEADS,
    hidden=WIDTH,
)
CACHED = ["batch", HEADS, "past", WIDTH // HEADS]
SHAPES = {
    "input_ids": (["batch", "sequence"], "int64"),
    "attention_mask": (["batch", "past+sequence"], "int64"),
    "position_ids": (["batch", "sequence"], "int64"),
    **dict.fromkeys(PAST, (CACHED, "float32")),
}
RETURNED = {
    "logits": (["batch", "sequence", VOCABULARY], "float32"),
    **dict.fromkeys(PRESENT, (["batch", HEADS, None, WIDTH // HEADS], "float32")),
}


class Decoder(nn.Module):
    """Learned positions, attention over all earlier tokens except padding, logits and the cache."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.tokens = nn.Embedding(VOCABULARY, WIDTH)
            self.places = nn.Embedding(POSITIONS, WIDTH)
            self.mixed = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(LAYERS))
            self.out = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))
            self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, *past: Any) -> Any:
        x = self.tokens(input_ids) + self.places(position_ids)
        total = attention_mask.shape[1]
        before = torch.arange(total)[None, :] <= torch.arange(total)[-input_ids.shape[1] :, None]
        calls = before[None, None] & attention_mask.bool()[:, None, None, :]
        present = []
        for n in range(LAYERS):
            q, k, v = (self._heads(t) for t in self.mixed[n](x).chunk(3, -1))
            k, v = torch.cat([past[2 * n], k], 2), torch.cat([past[2 * n + 1], v], 2)
            weight = (q @ k.transpose(2, 3) * 0.25).masked_fill(~calls, -1e4).softmax(-1)
            x = x + self.out[n]((weight @ v).transpose(1, 2).flatten(2)).tanh()
            present += [k, v]
        return self.head(x), *present

    @staticmethod
    def _heads(x: Any) -> Any:
        return x.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)


def facts(generation: Generation = GENERATION) -> dict[str, Any]:
    """The facts of `load_causal_lm` and `record_reference` about it."""
    dims = {"batch": (1, 2, 4), "sequence": (1, 3, 8), "past": (0, 5, 24)}
    return {
        **generation.facts,
        "interface": {
            "inputs": [{"name": n, "shape": s, "dtype": d} for n, (s, d) in SHAPES.items()],
            "outputs": [
                {"name": n, "path": [place], "shape": s, "dtype": d}
                for place, (n, (s, d)) in enumerate(RETURNED.items())
            ],
            "dims": [{"name": n, "min": a, "opt": b, "max": c, "multiple": 1} for n, (a, b, c) in dims.items()],
            "call": "null",
        },
    }


def module(seed: int = 0) -> Artifact:
    """The decoder as an artifact of `set_eval`."""
    return Artifact(Kind.MODULE, live=Decoder(seed).eval().requires_grad_(False), facts=facts())


def record_inputs() -> dict[str, Artifact]:
    """The inputs of `record_tokens`."""
    return {"module": module(), "reference": Artifact(Kind.REFERENCE, facts=facts())}


def mid_text(rows: int, new: int, before: int) -> dict[str, Any]:
    """Inputs in the middle of a text, drawn with a fixed seed; the first row is padded on the left."""
    import numpy as np

    drawn = np.random.default_rng(0)
    mask = np.ones((rows, before + new), np.int64)
    mask[0, : min(1, before)] = 0
    cache = {n: drawn.normal(size=(rows, HEADS, before, WIDTH // HEADS)).astype(np.float32) for n in PAST}
    places = (mask.cumsum(1) - 1).clip(0)[:, -new:]
    return {
        "input_ids": drawn.integers(3, VOCABULARY, (rows, new)),
        "attention_mask": mask,
        "position_ids": places,
        **cache,
    }


def onnx_file(folder: Path, seed: int = 0) -> Path:
    """Its ONNX graph by a trace, which takes a tenth of torch.export's time."""
    inputs = {n: torch.from_numpy(v) for n, v in mid_text(2, 3, 5).items()}
    axes = {n: {i: str(d) for i, d in enumerate(s) if not isinstance(d, int)} for n, (s, _) in SHAPES.items()}
    axes |= {n: {0: "batch", 2: "all"} for n in PRESENT}
    torch.onnx.export(
        Decoder(seed).eval(),
        tuple(inputs.values()),
        folder / "model.onnx",
        input_names=list(SHAPES),
        output_names=list(RETURNED),
        dynamic_axes={**axes, "logits": {0: "batch", 1: "sequence"}},
        opset_version=17,
        dynamo=False,
    )
    return folder / "model.onnx"


def words(folder: Path, *, tied: bool) -> Artifact:
    """A table of 96 rows, a square matrix, and a head, which is the table if they are tied."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    drawn = np.random.default_rng(0)
    table, square, head = (drawn.normal(size=s).astype("f4") for s in ((96, 64), (64, 64), (64, 96)))
    nodes = [helper.make_node("Gather", ["table", "ids"], ["looked"], "look_up")]
    nodes += [helper.make_node("MatMul", ["looked", "square"], ["hidden"], "middle")]
    nodes += [helper.make_node("Transpose", ["table"], ["turned"], "turn", perm=[1, 0])] if tied else []
    nodes += [helper.make_node("MatMul", ["hidden", "turned" if tied else "head"], ["logits"], "last")]
    weights_ = {"table": table, "square": square, **({} if tied else {"head": head})}
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", 96])]
    weights = [numpy_helper.from_array(v, n) for n, v in weights_.items()]
    graph = helper.make_graph(nodes, "words", inputs, outputs, weights)
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    ids, logits = Input(["batch", "length"], "int64"), Output([0], ["batch", "length", 96], "float32")
    dims = {"batch": Dim(1, 2, 4), "length": Dim(1, 8, 48)}
    return Artifact(ONNX, folder, facts=Interface({"ids": ids}, dims, {"logits": logits}).facts)
