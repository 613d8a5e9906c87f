"""The models in which faults are planted, with the interface that a person would write for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ALL = ("onnx", "openvino", "coreml")
UNCONVERTED = ("onnx", "openvino")  # of those that coremltools does not convert


@dataclass(frozen=True)
class Subject:
    """A model, and how it is converted.

    Args:
        name: What its row is called.
        factory: What returns the module.
        inputs: As in a model's YAML.
        dims: Likewise: min, opt, max.
        capture: To ONNX, by which the IR is made, too; to Core ML always by a trace.
        targets: What it is converted to.
    """

    name: str
    factory: str
    inputs: Mapping[str, Mapping[str, Any]]
    dims: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    capture: str = "export"
    targets: tuple[str, ...] = ALL


def _numbers(*shape: str | int, fill: str = "normal") -> dict[str, Any]:
    return {"shape": list(shape), "dtype": "float32", "fill": fill}


def _ids(*shape: str | int, below: int) -> dict[str, Any]:
    return {"shape": list(shape), "dtype": "int64", "fill": {"integers": [0, below]}}


def _mask(*shape: str | int) -> dict[str, Any]:
    return {"shape": list(shape), "dtype": "int64", "fill": "mask"}


IMAGES, SEQUENCES = "benchmarks.check.models.images", "benchmarks.check.models.sequences"
BATCH = {"batch": (1, 2, 8)}
PICTURE = {"image": _numbers("batch", 3, 32, 32, fill="uniform")}
ANY_SIZE = {"batch": (1, 2, 4), "height": (12, 20, 40), "width": (12, 24, 48)}
SUBJECTS = (
    Subject("cnn", f"{IMAGES}.cnn", PICTURE, BATCH),
    Subject("residual", f"{IMAGES}.residual", PICTURE, BATCH),
    Subject("vit", f"{IMAGES}.vit", PICTURE, BATCH),
    Subject(
        "unet",
        f"{IMAGES}.unet",
        {"image": _numbers("batch", 3, "height", "width", fill="uniform")},
        ANY_SIZE,
        targets=UNCONVERTED,
    ),
    Subject(
        "detector",
        f"{IMAGES}.detector",
        {"image": _numbers(1, 3, "height", "width", fill="uniform")},
        {"height": (24, 32, 64), "width": (24, 40, 72)},
        capture="trace",
    ),
    Subject(
        "segmenter",
        f"{IMAGES}.segmenter",
        {"image": _numbers("batch", 3, "height", "width")},
        ANY_SIZE,
    ),
    Subject(
        "bert",
        f"{SEQUENCES}.bert",
        {"ids": _ids("batch", "length", below=200), "mask": _mask("batch", "length")},
        {"batch": (1, 2, 6), "length": (2, 8, 32)},
    ),
    Subject(
        "tagger",
        f"{SEQUENCES}.tagger",
        {"ids": _ids("batch", "length", below=300)},
        {"batch": (1, 2, 4), "length": (1, 7, 20)},
        capture="trace",
    ),
    Subject(
        "recommender",
        f"{SEQUENCES}.recommender",
        {
            "user": _ids("batch", below=200),
            "place": _ids("batch", below=50),
            "hour": _ids("batch", below=24),
            "history": _ids("batch", "length", below=1000),
            "amounts": _numbers("batch", 2, fill="uniform"),
        },
        {"batch": (1, 4, 16), "length": (1, 6, 30)},
    ),
    Subject(
        "sound",
        f"{SEQUENCES}.sound",
        {"wave": _numbers("batch", "samples")},
        {"batch": (1, 2, 4), "samples": (32, 64, 200)},
    ),
    Subject(
        "cross",
        f"{SEQUENCES}.cross",
        {
            "asking": _numbers("batch", "lq", 16),
            "asked": _numbers("batch", "lk", 12),
            "mask": _mask("batch", "lk"),
        },
        {"batch": (1, 2, 4), "lq": (2, 6, 24), "lk": (2, 9, 30)},
    ),
    Subject(
        "forecaster",
        f"{SEQUENCES}.forecaster",
        {"series": _numbers("batch", "steps", 4), "day": _ids("batch", below=7)},
        {"batch": (1, 2, 6), "steps": (4, 12, 40)},
    ),
)
BY_NAME = {s.name: s for s in SUBJECTS}
