"""The image sizes and the preprocessing that models of torchvision and timm were published with.

They stand in conf/wiring/pictures.json, after torchvision's enums of weights and timm's configurations of data, so that
no plan imports either. A test compares the file with the libraries.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config import wiring

FILE = "pictures.json"
# The values of most models of both; used for a name that the table does not have.
USUAL = {"size": [3, 224, 224], "resize": 256, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@functools.cache
def _models(library: str) -> Mapping[str, Mapping[str, Any]]:
    """Size and preprocessing of a library's models by name; also by tag, such as resnet18.a1_in1k, where it differs."""
    groups = json.loads((wiring.CONF / wiring.GROUP / FILE).read_text("utf-8"))[library]
    return {name: group for group in groups for name in group["names"].split()}


def _published(library: str, name: str) -> Mapping[str, Any]:
    models = _models(library)
    return models.get(name) or models.get(name.partition(".")[0]) or USUAL


def shape(library: str, name: str) -> list[Any]:
    """The shape of a batch of pictures: batch, channels, height, width."""
    return ["batch", *_published(library, name)["size"]]


def preprocessing(library: str, name: str) -> dict[str, Any]:
    """The value of model.preprocessing, see stages/interface/images.py."""
    published = _published(library, name)
    fields = ("resize", "mean", "std", "interpolation")
    return {f: published[f] for f in fields if f in published}
