"""The models of the surveys: family, name, and what to type to get it.

architectures/timm.txt has timm's, of as many families as there are; architectures/transformers.json has, of 200
architectures, the class and what makes its configuration small. Each is built with random weights and saved as
save_pretrained does it, and the command is given the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LISTS = Path(__file__).parent / "architectures"
FOLDER = "{folder}"  # stands for the folder that is made for a subject
# Three sizes of the batch, or more where an odd one fits between: 1, 2, 3.
BATCH = "model.dims.batch={min: 1, opt: 2, max: 3}"


@dataclass(frozen=True)
class Subject:
    """A model to be converted.

    Args:
        family: The heading of its table.
        name: What people call it.
        overrides: What the command line gets.
    """

    family: str
    name: str
    overrides: tuple[str, ...]


# What a detector with random weights is asked for: some detections, few enough that none are tied.
DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": "box_",
    "fasterrcnn_mobilenet_v3_large_fpn": "box_",
    "fasterrcnn_resnet50_fpn": "box_",
    "fasterrcnn_resnet50_fpn_v2": "box_",
    "fcos_resnet50_fpn": "",
    "keypointrcnn_resnet50_fpn": "box_",
    "maskrcnn_resnet50_fpn": "box_",
    "maskrcnn_resnet50_fpn_v2": "box_",
    "retinanet_resnet50_fpn": "",
    "retinanet_resnet50_fpn_v2": "",
    "ssd300_vgg16": "",
    "ssdlite320_mobilenet_v3_large": "",
}


def subjects() -> Iterator[Subject]:
    """Every model, in the order of the tables."""
    from torchvision import models

    for name in models.list_models(module=models):
        yield Subject("torchvision classification", name, ("model=torchvision", f"model.name={name}", BATCH))
    for name in models.list_models(module=models.segmentation):
        yield Subject("torchvision segmentation", name, ("model=torchvision_segmentation", f"model.name={name}", BATCH))
    for name, prefix in DETECTORS.items():
        names = (
            "model.factory=benchmarks.coverage.nets.detector",
            f"+model.kwargs.{prefix}score_thresh=0.0",
            f"+model.kwargs.{prefix}detections_per_img=5",
        )
        yield Subject("torchvision detection", name, ("model=torchvision_detection", f"model.name={name}", *names))
    for name in models.list_models(module=models.video):
        side = 224 if name.startswith(("mvit", "s3d")) else 112
        shape = f"model.inputs.input.shape=[batch, 3, 16, {side}, {side}]"
        yield Subject("torchvision video", name, ("model=torchvision_video", f"model.name={name}", shape, BATCH))
    for name in models.list_models(module=models.optical_flow):
        yield Subject("torchvision optical flow", name, ("model=torchvision_flow", f"model.name={name}", BATCH))
    for name in (LISTS / "timm.txt").read_text().split():
        yield Subject("timm", name, ("model=timm", f"model.name={name}", BATCH))
    for name in architectures():
        yield Subject("transformers", name, ("model=transformers", f"model.name='{name}'", f"model.weights={FOLDER}"))


def architectures() -> dict[str, Any]:
    """By its name: the class that is saved, and the fields of its configuration that make it small."""
    by_name: dict[str, Any] = json.loads((LISTS / "transformers.json").read_text())
    return by_name


def save(name: str, folder: Path) -> None:
    """Leaves an architecture with random weights in a folder, as save_pretrained does it."""
    import torch
    import transformers

    from stages.loading import drawn

    entry = architectures()[name]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name, **entry["config"])
    module = getattr(transformers, entry["class"])._from_config(config)
    drawn.enliven(module, 0)
    module.save_pretrained(folder)
