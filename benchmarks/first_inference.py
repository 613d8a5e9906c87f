"""A whole program from its start to its first answer of ResNet-50: from IR, or converting the module every time.

python -m benchmarks.first_inference ir MODEL.xml
python -m benchmarks.first_inference convert WEIGHTS.pth
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from stages.openvino import library as openvino_library

SHAPE = (2, 3, 224, 224)


def from_ir(openvino: Any, path: Path) -> Any:
    """The model as Drydock delivers it."""
    return openvino.Core().read_model(path)


def converted(openvino: Any, path: Path) -> Any:
    """The model as a program without an IR makes it each time: built, its weights loaded, converted."""
    import torch
    import torchvision

    module = torchvision.models.resnet50(weights=None).eval()
    module.load_state_dict(torch.load(path, weights_only=True))
    return openvino.convert_model(module, example_input=torch.zeros(SHAPE), input=[list(SHAPE)])


def main(how: str, path: Path) -> None:
    openvino = openvino_library.load()
    model = {"ir": from_ir, "convert": converted}[how](openvino, path)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (answer,) = compiled([np.zeros(SHAPE, np.float32)]).values()
    assert answer.shape == (SHAPE[0], 1000)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
