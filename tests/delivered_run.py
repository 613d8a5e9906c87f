"""A run's folder with a small model file that it delivered, without the work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fake_sweep import FakeSweep, finished
from onnx import TensorProto, helper, save

from pipeline.record import carrier

INTERFACE = {
    "inputs": [
        {"name": "ids", "dtype": "int64", "shape": ["batch", "past+sequence"]},
        {"name": "image", "dtype": "float32", "shape": ["batch", 3]},
    ],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", None], "path": []}],
    "dims": [
        {"name": "batch", "min": 1, "opt": 2, "max": 8, "multiple": 1},
        {"name": "past", "min": 0, "opt": 3, "max": 9, "multiple": 1},
        {"name": "sequence", "min": 32, "opt": 64, "max": 128, "multiple": 32},
    ],
}
RECORD = {
    "target": "onnx",
    "precision": {"name": "fp32", "storage": "float32", "compute": "float32"},
    "facts": {"interface": INTERFACE},
    "checks": [{"stage": "check", "of": "export", "delivered": True, "parity": {"compute": "float32"}}],
    "stages": [],
    "libraries": {},
    "sources": {},
}


def written(kind: str, folder: Path) -> Path:
    """A model file of a kind, with these inputs: the numbers and the image beside each other, then a product."""
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "n"]),
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 3]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "m"])]
    nodes = [
        helper.make_node("Cast", ["ids"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["image", "w"], ["product"], "matmul"),
        helper.make_node("Concat", ["floats", "product"], ["logits"], "concat", axis=1),
    ]
    weights = [helper.make_tensor("w", TensorProto.FLOAT, [3, 3], [0.5] * 9)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx = folder / "net.onnx"
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), onnx)
    if kind == "onnx":
        return onnx
    import openvino

    openvino.save_model(openvino.Core().read_model(onnx), folder / "net.xml", compress_to_fp16=False)
    return folder / "net.xml"


def delivered(folder: Path, record: Mapping[str, Any], path: Path, target: str = "onnx", **notes: Any) -> Path:
    """The folder of a run that delivered a file, with a record of what it holds now."""
    manifest = FakeSweep(folder).job("opset=18", target=target)
    manifest.finish(finished("built", "a", "18", 1e-7, size=1, **notes))
    home = manifest.path.parent
    (home / "artifact").mkdir()
    for file in path.parent.glob(f"{path.stem}.*"):
        (home / "artifact" / file.name).write_bytes(file.read_bytes())
    form = carrier.of_kind(record["kind"])
    content = {form.FILE: form.bare(path)} if form else {}
    run = json.loads(manifest.path.read_text())
    artifact = f"/gone/artifact/{path.name}"  # the folder has been moved since
    manifest.path.write_text(json.dumps({**run, "record": {**record, "content": content}, "artifact": artifact}))
    return home
