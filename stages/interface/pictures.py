"""How large the pictures are that a transformers model takes: height and width in pixels.

Source: https://huggingface.co/docs/transformers/main_classes/image_processor
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Size = tuple[int, int]
# Where nothing says it: what most vision models are published with.
USUAL = (224, 224)
# Image processors that count pixels of a whole picture call this the shortest edge, too.
LONGEST_EDGE = 2000


def size(config: Any, stated: Sequence[int] | None) -> tuple[Size, str]:
    """Height and width, and in words what was assumed where neither the folder nor the configuration says it.

    Args:
        config: A transformers configuration.
        stated: What preprocessor_config.json says; None where there is none.
    """
    if stated:
        return (stated[0], stated[1]), ""
    for part in (
        config,
        *(getattr(config, n, None) for n in ("vision_config", "image_config", "backbone_config", "encoder")),
    ):
        if (found := of_value(getattr(part, "image_size", None))) is not None:
            return found, ""
    found = of_processor(_defaults(config.model_type)) or USUAL
    says = f"pictures of {found[0]}x{found[1]}, which is usual: neither the folder nor the configuration says a size"
    return found, says


def of_processor(settings: Mapping[str, Any]) -> Size | None:
    """What an image processor makes of a picture, of its settings as preprocessor_config.json has them."""
    if settings.get("do_center_crop", "crop_size" in settings) and (cut := of_value(settings.get("crop_size"))):
        return cut
    if settings.get("do_pad") and (padded := of_value(settings.get("pad_size"))):
        return padded
    return of_value(settings.get("size")) if settings.get("do_resize", True) else None


def of_value(value: Any) -> Size | None:
    """A size as the library writes it: a number, two, or a mapping."""
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
    made = next(
        filter(None, (getattr(transformers, n, None) for n in (names.get("pil"), names.get("torchvision")) if n)), None
    )
    fields = ("size", "crop_size", "pad_size", "do_center_crop", "do_pad", "do_resize")
    return {f: v for f in fields if (v := getattr(made, f, None)) is not None}
