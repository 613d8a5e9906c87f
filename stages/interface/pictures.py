"""The size of the pictures that a transformers model takes: height and width in pixels.

Source: https://huggingface.co/docs/transformers/main_classes/image_processor
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Size = tuple[int, int]
# What a configuration calls it: LayoutLMv3 the latter.
NAMES = ("image_size", "input_size")
# The default: most vision models are published with it.
USUAL = (224, 224)
# A larger "shortest edge" is a number of pixels of the whole picture, not an edge.
LONGEST_EDGE = 2000


def size(config: Any, stated: Sequence[int] | None) -> tuple[Size, str]:
    """Height and width, and in words what was assumed if neither the folder nor the configuration states them.

    Args:
        config: A transformers configuration.
        stated: The size from preprocessor_config.json; None where there is none.
    """
    if stated:
        return (stated[0], stated[1]), ""
    for part in (
        config,
        *(getattr(config, n, None) for n in ("vision_config", "image_config", "backbone_config", "encoder")),
    ):
        for name in NAMES:
            if (stated_size := of_value(getattr(part, name, None))) is not None:
                return stated_size, ""
    usual = of_processor(_defaults(config.model_type)) or USUAL
    says = f"pictures of {usual[0]}x{usual[1]}, which is usual: neither the folder nor the configuration says a size"
    return usual, says


def of_processor(settings: Mapping[str, Any]) -> Size | None:
    """The size of an image processor's results, from its settings in preprocessor_config.json."""
    if settings.get("do_center_crop", "crop_size" in settings) and (cut := of_value(settings.get("crop_size"))):
        return cut
    if settings.get("do_pad") and (padded := of_value(settings.get("pad_size"))):
        return padded
    return of_value(settings.get("size")) if settings.get("do_resize", True) else None


def of_value(value: Any) -> Size | None:
    """A size in one of the library's forms: a number, two numbers, or a mapping."""
    if isinstance(value, Mapping) or hasattr(value, "get"):
        if value.get("height") and value.get("width"):
            return int(value["height"]), int(value["width"])
        if value.get("max_height") and value.get("max_width"):
            return int(value["max_height"]), int(value["max_width"])
        value = value.get("shortest_edge") or value.get("longest_edge")
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(n, int) for n in value):
        return value[0], value[1]
    return (value, value) if isinstance(value, int) and 0 < value <= LONGEST_EDGE else None


def _defaults(model_type: str) -> dict[str, Any]:
    """The settings of the image processor that the library has for an architecture."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    names = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, {})
    processor = next(
        filter(None, (getattr(transformers, n, None) for n in (names.get("pil"), names.get("torchvision")) if n)), None
    )
    fields = ("size", "crop_size", "pad_size", "do_center_crop", "do_pad", "do_resize")
    return {f: v for f in fields if (v := getattr(processor, f, None)) is not None}
