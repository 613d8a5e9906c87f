"""The script that an engineer writes by hand: torchvision → torch.onnx.export → onnxsim → OpenVINO → save_model.

The same model, shapes and steps as `python -m pipeline model=resnet50 target=openvino`, with no checks and no store.
    python -m benchmarks.handwritten FOLDER [OPSET PRECISION]
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import onnxsim
import openvino
import torch
import torchvision

SAMPLES = 32  # that int8 is calibrated on, as many as we draw where a model has no data


def main(folder: Path, opset: int = 18, precision: str = "fp32") -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval()
    example = torch.rand(2, 3, 224, 224)
    batch = torch.export.Dim("batch", min=1, max=8)
    torch.onnx.export(
        model,
        (example,),
        folder / "model.onnx",
        dynamo=True,
        opset_version=opset,
        input_names=["input"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        external_data=False,
        verbose=False,
    )
    simplified, _ = onnxsim.simplify(onnx.load(folder / "model.onnx"))
    onnx.save(simplified, folder / "simplified.onnx")
    converted = openvino.convert_model(folder / "simplified.onnx")
    if precision == "int8":
        import nncf

        samples = torch.rand(SAMPLES, 1, 3, 224, 224).numpy()
        converted = nncf.quantize(converted, nncf.Dataset(samples), subset_size=SAMPLES)
    openvino.save_model(converted, folder / "model.xml", compress_to_fp16=precision == "fp16")


if __name__ == "__main__":
    folder, *more = sys.argv[1:]
    main(Path(folder), *([int(more[0]), more[1]] if more else []))
