"""Prints the class of each photograph: python classify.py MODEL.xml|MODEL.blob PHOTOGRAPH…"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image

path = Path(sys.argv[1])
core = openvino.Core()
if path.suffix == ".blob":
    ties = json.loads(path.with_suffix(".json").read_text())
    model = core.import_model(path.read_bytes(), ties["device"], ties["properties"])
else:
    model = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
for name in sys.argv[2:]:
    photograph = np.asarray(Image.open(name).convert("RGB"))
    (logits,) = model(photograph[None]).to_tuple()
    print(f"{Path(name).name}: {photograph.shape[1]}x{photograph.shape[0]}, class {int(logits.argmax())}")
