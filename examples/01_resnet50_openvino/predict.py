"""Predicts with an OpenVINO IR. Needs openvino and numpy, and nothing of what made the model.

python predict.py MODEL.xml
"""

import sys

import numpy as np
import openvino as ov


def main(path: str) -> None:
    model = ov.Core().compile_model(path, "CPU")
    images = np.random.default_rng(0).random((3, 3, 224, 224), dtype=np.float32)
    logits = model(images)["logits"]
    print("input", model.input("input").partial_shape)
    print("classes", *logits.argmax(axis=1))


if __name__ == "__main__":
    main(sys.argv[1])
