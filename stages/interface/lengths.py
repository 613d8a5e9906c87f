"""How long the text may be that a transformers model takes, so that no example is beyond what its tables hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stages.interface.interface import Dim

# Fields of a configuration that say how many positions there are.
POSITIONS = (
    "max_position_embeddings", "n_positions", "max_encoder_position_embeddings", "max_seq_len", "max_sequence_length",
)  # fmt: skip
DECODER_POSITIONS = ("max_decoder_position_embeddings", "max_target_positions", "max_position_embeddings")


def fitted(module: Any, dims: Mapping[str, Dim]) -> tuple[dict[str, Dim | int], list[str]]:
    """The dimensions within what the model can do, one that has a single size then as a number; and what was changed.

    Args:
        module: A transformers PreTrainedModel.
        dims: Those that its inputs name.
    """
    found: dict[str, Dim | int] = dict(dims)
    says = []
    for name, limits in (("sequence", _of_text), ("decoder_sequence", _of_decoder)):
        if name not in dims:
            continue
        least, most, multiple, why = limits(module)
        found[name] = within(dims[name], least, most, multiple)
        if found[name] != dims[name]:
            says.append(f"{name} of {_says(found[name])} rather than {_says(dims[name])}: {why}")
    return found, says


def within(dim: Dim, least: int, most: int | None, multiple: int) -> Dim | int:
    """The range, as far as it is between two sizes and has multiples; a number where a single size is left.

    Where the most is less than the multiple, it is that one: a model that pads to a window does so by a fixed number.
    """
    step = max(multiple, dim.multiple)
    low = _up(max(dim.min, least), step)
    high = max(_up(dim.max, step), low + step if step > dim.multiple else low)
    if most is not None:
        high = min(high, most // step * step or most)
    if low >= high:
        return high
    return Dim(low, min(max(_up(dim.opt, step), low), high), high, step)


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _says(dim: Dim | int) -> str:
    if isinstance(dim, int):
        return str(dim)
    return f"{dim.min} to {dim.max}" + (f" in steps of {dim.multiple}" if dim.multiple > 1 else "")


def _of_text(module: Any) -> tuple[int, int | None, int, str]:
    """The least and the most of input_ids, what every length is a multiple of, and why."""
    config = _text(module.config)
    positions = _first(config, POSITIONS)
    most = positions - _offset(module, positions) if positions is not None else None
    least, multiple, why = 1, 1, f"its position embeddings hold {most}"
    if (window := getattr(config, "attention_window", None)) is not None:
        multiple = max(window) if isinstance(window, list) else window
        why = f"its attention has windows of {multiple}"
    elif (blocks := getattr(config, "block_sizes", None)) and config.model_type == "funnel":
        multiple = 2 ** (len(blocks) - 1)
        least, why = 2 * multiple, f"each of its {len(blocks)} blocks but the first halves the length"
    elif getattr(config, "downsampling_rate", 0) > 1 and config.model_type == "canine":
        least, why = config.downsampling_rate, f"it takes {config.downsampling_rate} characters together"
    return least, most, multiple, why


def _of_decoder(module: Any) -> tuple[int, int | None, int, str]:
    config = getattr(module.config, "decoder", None) or _text(module.config)
    config = config if hasattr(config, "vocab_size") else module.config
    positions = _first(config, DECODER_POSITIONS)
    return 1, positions, 1, f"its decoder's position embeddings hold {positions}"


def _text(config: Any) -> Any:
    """The configuration of the part that reads text."""
    parts = (getattr(config, n, None) for n in ("text_config", "encoder"))
    return next((p for p in parts if hasattr(p, "vocab_size")), config)


def _first(config: Any, fields: tuple[str, ...]) -> int | None:
    found = (getattr(config, name, None) for name in fields)
    return next((n for n in found if isinstance(n, int) and n > 0), None)


def _offset(module: Any, positions: int) -> int:
    """How many rows of a table of positions are none: RoBERTa counts from the padding's number plus one."""
    return max(
        (t.padding_idx + 1 for n, t in _tables(module) if t.padding_idx is not None and t.num_embeddings == positions),
        default=0,
    )


def _tables(module: Any) -> Iterator[tuple[str, Any]]:
    import torch

    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Embedding) and "position" in name:
            yield name, part
