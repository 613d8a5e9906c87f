"""The lengths of text and sound that a transformers model takes, so that no example exceeds its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.interface.interface import Dim

# Fields of a configuration with the number of positions.
POSITIONS = (
    "max_position_embeddings", "n_positions", "max_encoder_position_embeddings", "max_seq_len", "max_sequence_length",
)  # fmt: skip
DECODER_POSITIONS = ("max_decoder_position_embeddings", "max_target_positions", "max_position_embeddings")


@dataclass(frozen=True)
class Limits:
    """The possible lengths of a text.

    Args:
        least: The shortest, in tokens.
        most: The longest; None for any.
        multiple: Every length is a multiple of this.
        why: A text that says what narrows the range.
        fixed: Whether captures fix the length, so that text is padded to a single one.
    """

    least: int
    most: int | None
    multiple: int
    why: str
    fixed: bool = False


def fitted(module: Any, dims: Mapping[str, Dim]) -> tuple[dict[str, Dim | int], list[str]]:
    """The dimensions within the model's limits, a number for one with a single size; and what was changed, in words.

    Args:
        module: A transformers PreTrainedModel.
        dims: The dimensions that its inputs name.
    """
    within_limits: dict[str, Dim | int] = dict(dims)
    says = []
    for name, limits_of in (("sequence", _of_text), ("decoder_sequence", _of_decoder), ("frames", _of_frames)):
        if name not in dims:
            continue
        limits = limits_of(module)
        within_limits[name] = within(dims[name], limits)
        if within_limits[name] != dims[name]:
            says.append(f"{name} of {_says(within_limits[name])} rather than {_says(dims[name])}: {limits.why}")
    return within_limits, says


def within(dim: Dim, limits: Limits) -> Dim | int:
    """The range within the limits, of their multiples; a number where a single size remains.

    Where the longest is less than the multiple, that is the size: a model that pads to a window adds a fixed number.
    """
    step = max(limits.multiple, dim.multiple)
    low, high = _up(max(dim.min, limits.least), step), _up(max(dim.max, limits.least), step)
    if limits.most is not None:
        high = min(high, limits.most // step * step or limits.most)
    if limits.fixed or low >= high:
        return high
    return Dim(low, min(max(_up(dim.opt, step), low), high), high, step)


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _says(dim: Dim | int) -> str:
    if isinstance(dim, int):
        return str(dim)
    return f"{dim.min} to {dim.max}" + (f" in steps of {dim.multiple}" if dim.multiple > 1 else "")


def positions(config: Any) -> int | None:
    """How many tokens a text may have, from a configuration; None where nothing limits it."""
    return _first(config, POSITIONS)


def positions_of_json(config: Mapping[str, Any]) -> int | None:
    """The same, from the content of a config.json."""
    values = (config.get(name) for name in POSITIONS)
    return next((n for n in values if isinstance(n, int) and n > 0), None)


def _of_text(module: Any) -> Limits:
    config = _text(module.config)
    count = positions(config)
    most = count - _offset(module, count) if count is not None else None
    if (window := getattr(config, "attention_window", None)) is not None:
        window = max(window) if isinstance(window, list) else window
        return Limits(1, most, window, f"its attention goes by windows of {window}, as many as at export", fixed=True)
    if config.model_type == "funnel":
        step = 2 ** (len(config.block_sizes) - 1)
        why = f"its {len(config.block_sizes)} blocks halve the length, by tables that are made at export"
        return Limits(2 * step, most, step, why, fixed=True)
    if config.model_type == "canine":
        rate = config.downsampling_rate
        return Limits(rate, most, 1, f"it takes {rate} characters together")
    return Limits(1, most, 1, f"its position embeddings hold {most}")


def _of_decoder(module: Any) -> Limits:
    config = getattr(module.config, "decoder", None) or _text(module.config)
    config = config if hasattr(config, "vocab_size") else module.config
    positions = _first(config, DECODER_POSITIONS)
    return Limits(1, positions, 1, f"its decoder's position embeddings hold {positions}")


def _of_frames(module: Any) -> Limits:
    """Of a spectrogram that convolutions of stride 2 shorten, as Speech2Text's."""
    config = module.config
    positions, halvings = getattr(config, "max_source_positions", None), getattr(config, "num_conv_layers", None)
    most = positions * 2**halvings if isinstance(positions, int) and isinstance(halvings, int) else None
    return Limits(
        1, most, 1, f"its encoder's position embeddings hold {positions} steps of {2 ** (halvings or 0)} frames"
    )


def _text(config: Any) -> Any:
    """The configuration of the part that reads text."""
    parts = (getattr(config, n, None) for n in ("text_config", "encoder"))
    return next((p for p in parts if hasattr(p, "vocab_size")), config)


def _first(config: Any, fields: tuple[str, ...]) -> int | None:
    values = (getattr(config, name, None) for name in fields)
    return next((n for n in values if isinstance(n, int) and n > 0), None)


def _offset(module: Any, positions: int) -> int:
    """How many rows of a table of positions are unused: RoBERTa counts from the padding's number plus one."""
    return max(
        (t.padding_idx + 1 for n, t in _tables(module) if t.padding_idx is not None and t.num_embeddings == positions),
        default=0,
    )


def _tables(module: Any) -> Iterator[tuple[str, Any]]:
    import torch

    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Embedding) and "position" in name:
            yield name, part
