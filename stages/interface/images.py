"""Turns photographs into a model's input: the preprocessing that a model's YAML states once.

It is applied here, with Pillow, where inputs are drawn from photographs, and compiled into artifacts on request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pipeline.errors import Problem, StageError
from pipeline.stage import OneOf, Setting, Settings
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

COLORS = ("RGB", "BGR")
LAYOUTS = ("NCHW", "NHWC")
INTERPOLATIONS = ("bilinear", "bicubic")
# Pillow's modes that it converts to RGB without loss, and 16-bit grey in any order of bytes.
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
# Drawn photographs: one wide, one tall, one smaller than the size that models resize to.
DRAWN_SIZES = ((240, 320), (301, 199), (97, 131))


def unprepared(what: str) -> Problem:
    """A problem, stated by `what`: photographs are asked for, and model.preprocessing is missing."""
    command = "'model.preprocessing={resize: 256, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}'"
    return Problem(what, allowed="model.preprocessing", command=command)


class Sides(Setting):
    """A number of pixels, or two."""

    def problems(self, name: str, value: Any) -> Iterable[Problem]:
        sides = value if isinstance(value, list) else [value, value]
        if len(sides) != 2 or not all(type(n) is int and n > 0 for n in sides):
            yield Problem(f"{name} is {value}", allowed="pixels of the shorter side; [height, width]")


class Channels(Setting):
    """One number for all channels, or one for each."""

    def problems(self, name: str, value: list[float]) -> Iterable[Problem]:
        if len(value) not in (1, 3):
            yield Problem(f"{name} is {value}", allowed="one number, or one for each channel")


# Not frozen: OmegaConf makes a frozen dataclass read-only before it has filled its lists.
@dataclass
class Preprocessing(Settings):
    """A model's preprocessing of photographs, as in torchvision's ImageClassification preset.

    Args:
        resize: The length of the shorter side, in pixels, before the center is cut out; or [height, width] for both
            sides.
        mean: The mean of each channel, in 0..1, in the model's order of colours.
        std: The deviation of each channel, in 0..1, in the model's order of colours.
        scale: The divisor of bytes before that: 255 for numbers in 0..1.
        color: The order of the model's channels, RGB or BGR.
        layout: The layout of the model's input, NCHW or NHWC.
        interpolation: bilinear or bicubic; with antialiasing, as Pillow does it.
    """

    resize: Annotated[Any, Sides()]
    mean: Annotated[list[float], Channels()]
    std: Annotated[list[float], Channels()]
    scale: float = 255.0
    color: Annotated[str, OneOf(COLORS)] = "RGB"
    layout: Annotated[str, OneOf(LAYOUTS)] = "NCHW"
    interpolation: Annotated[str, OneOf(INTERPOLATIONS)] = "bilinear"

    def conflicts(self) -> Iterator[Problem]:
        if 0 in (*self.std, self.scale):
            yield Problem(f"std is {self.std} and scale {self.scale}, which divides by 0", "std and scale other than 0")

    def size(self, shape: list[int]) -> tuple[int, int]:
        """Height and width of the model's input, of its shape of four."""
        return (shape[2], shape[3]) if self.layout == "NCHW" else (shape[1], shape[2])


def from_file(path: Path) -> Array:
    """A photograph as uint8 [height, width, 3], RGB, upright as its EXIF orientation says.

    Grey of 16 bits is scaled to 8: Pillow's own conversion cuts it off at 255, and every picture comes out white.

    Raises:
        StageError: For what is no image, and for one whose numbers have no range that is known: of 32 bits, or floats.
    """
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode in WIDE_MODES:
                return np.repeat(np.asarray(upright)[..., None] // 257, 3, axis=-1).astype(np.uint8)
            if upright.mode in MODES:
                return np.asarray(upright.convert("RGB"))
            mode = upright.mode
    except Exception as e:  # Pillow raises anything on a damaged file
        raise StageError(
            f"{path} cannot be read as an image: {first_line(e)}", command="another copy of it, or none"
        ) from e
    raise StageError(
        f"{path} is of Pillow's mode {mode}, and nothing says which of its numbers is white",
        allowed=f"8 bits a channel ({', '.join(MODES)}), or grey of 16 bits",
        command="a picture of 8 bits, or source: arrays with numbers as the model takes them",
    )


def drawn(seed: int) -> list[Array]:
    """Drawn pictures in place of photographs: smooth seeded colours of several sizes, in the form of `from_file`."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng([seed, *b"photograph"])
    return [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
        )
        for h, w in DRAWN_SIZES
    ]


def variant(photograph: Array, number: int) -> Array:
    """Another photograph of the same size, so that the rows of a batch differ: turned about, and shifted."""
    import numpy as np

    turned = np.flip(photograph, [a for a in (0, 1) if number >> a & 1])
    return np.ascontiguousarray(np.roll(turned, 3 * (number // 4), axis=1))


def cut(photograph: Array, height: int, width: int, how: Preprocessing) -> Array:
    """The bytes of what the model takes: scaled, and the middle of it, uint8 [height, width, 3], RGB."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(photograph)
    tall, wide = resized(image.height, image.width, how, (height, width))
    image = image.resize((wide, tall), Image.Resampling[how.interpolation.upper()])
    top, left = middle(tall, height), middle(wide, width)
    return np.asarray(image.crop((left, top, left + width, top + height)))


def prepared(photograph: Array, height: int, width: int, how: Preprocessing) -> Array:
    """The model's input, float32, [3, height, width] or [height, width, 3] by the layout."""
    import numpy as np

    pixels = cut(photograph, height, width, how).astype(np.float32)
    ordered = pixels[..., ::-1] if how.color == "BGR" else pixels
    normal = (ordered / np.float32(how.scale) - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return normal.transpose(2, 0, 1) if how.layout == "NCHW" else normal


def resized(height: int, width: int, how: Preprocessing, least: tuple[int, int]) -> tuple[int, int]:
    """The size that a photograph is scaled to, and larger where `least` is; rounded down, as torchvision does it."""
    if isinstance(how.resize, list):
        return max(how.resize[0], least[0]), max(how.resize[1], least[1])
    short = min(height, width)
    size = how.resize * height // short, how.resize * width // short
    if size[0] >= least[0] and size[1] >= least[1]:
        return size
    scale = max(least[0] / height, least[1] / width)
    return max(round(height * scale), least[0]), max(round(width * scale), least[1])


def middle(whole: int, part: int) -> int:
    """Where a centre crop begins; a half is rounded to the even number, as in torchvision's center_crop."""
    return round((whole - part) / 2)
