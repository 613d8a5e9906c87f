"""The inputs that a transformers model says it takes: from its configuration and forward's parameters.

Source: https://huggingface.co/docs/transformers/main_classes/configuration
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError, listed
from stages.interface import call as forward_call
from stages.interface.interface import Dim, Input, Interface

# Special tokens are left out of what is drawn: models stop, pool or pad at them.
SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id")


def interface(module: Any, dims: Mapping[str, Dim], call: Mapping[str, Any] | None) -> Interface:
    """What the module takes, each input by keyword; of `dims`, those that a shape names.

    Args:
        module: A transformers PreTrainedModel.
        dims: batch, sequence, decoder_sequence and samples, as far as the shapes need them.
        call: Plain values for further parameters, in `kwargs`.

    Raises ConfigError when the module is no such model or a dimension that it needs is missing.
    """
    config = getattr(module, "config", None)
    if config is None or not hasattr(module, "main_input_name"):
        raise ConfigError(
            f"inputs is null, and {type(module).__name__} does not say what it takes: only transformers models do",
            allowed="one entry for each tensor that forward takes",
            command="'model.inputs={input: {shape: [batch, 3, 224, 224]}}'",
        )
    parameters = inspect.signature(module.forward).parameters
    inputs = {name: spec for name, spec in _known_inputs(module, config) if name in parameters}
    if module.main_input_name not in inputs:
        raise ConfigError(
            f"inputs is null, and nothing is known of {type(module).__name__}'s {module.main_input_name}",
            allowed="one entry for each tensor that forward takes",
            command=f"'model.inputs={{{module.main_input_name}: {{shape: […]}}}}'",
        )
    used = {d for spec in inputs.values() for d in spec.axes.values()}
    if missing := sorted(used - set(dims)):
        raise ConfigError(
            f"dims has no {listed(missing)}, which {type(module).__name__} needs",
            allowed=listed(sorted(used)),
            command=f"'+model.dims.{missing[0]}={{min: 1, opt: 2, max: 8}}'",
        )
    if call and call.get("args"):
        raise ConfigError("call has args, and inputs that the model names itself are passed by name", allowed="kwargs")
    fixed = {"use_cache": False} if "use_cache" in parameters else {}
    kwargs = {name: name for name in inputs} | fixed | dict((call or {}).get("kwargs", {}))
    complete = {"args": [], "kwargs": kwargs}
    if wrong := forward_call.problems(complete, inputs):
        raise ConfigError(wrong)
    return Interface(inputs, {n: d for n, d in dims.items() if n in used}, call=complete)


def _known_inputs(module: Any, config: Any) -> Iterator[tuple[str, Input]]:
    parameters = inspect.signature(module.forward).parameters
    text = _part(config, "text_config", "vocab_size")
    vision = _part(config, "vision_config", "image_size")
    if text is not None and "input_ids" in parameters:
        yield from _text(text)
    if vision is not None and "pixel_values" in parameters:
        yield "pixel_values", Input(_pixels(vision), fill="normal")
    if "input_values" in parameters:  # a waveform, or a spectrogram of fixed size
        bins = getattr(config, "num_mel_bins", None)
        yield "input_values", Input(["batch", config.max_length, bins] if bins else ["batch", "samples"], fill="normal")
    if "input_features" in parameters and hasattr(config, "max_source_positions"):
        frames = 2 * config.max_source_positions  # Whisper's first convolution halves them
        yield "input_features", Input(["batch", config.num_mel_bins, frames], fill="normal")
    if config.is_encoder_decoder and text is not None:
        yield "decoder_input_ids", Input(["batch", "decoder_sequence"], "int64", _tokens(text))


def _part(config: Any, name: str, wanted: str) -> Any:
    """The configuration that holds what is wanted: the model's own, or the one inside it of several."""
    return next((c for c in (config, getattr(config, name, None)) if getattr(c, wanted, None) is not None), None)


def _text(config: Any) -> Iterator[tuple[str, Input]]:
    yield "input_ids", Input(["batch", "sequence"], "int64", _tokens(config))
    yield "attention_mask", Input(["batch", "sequence"], "int64", "mask")
    if (types := getattr(config, "type_vocab_size", 0)) > 1:
        yield "token_type_ids", Input(["batch", "sequence"], "int64", {"integers": [0, types]})


def _tokens(config: Any) -> dict[str, list[int]]:
    special = [getattr(config, name, None) for name in SPECIAL]
    # Some vocabularies begin with them, some end with them; the larger half is free of them.
    low = max([s + 1 for s in special if isinstance(s, int) and s < config.vocab_size // 2], default=0)
    high = min([s for s in special if isinstance(s, int) and s >= config.vocab_size // 2], default=config.vocab_size)
    return {"integers": [low, max(min(high, config.vocab_size), low + 1)]}


def _pixels(config: Any) -> list[Any]:
    size = config.image_size
    height, width = (
        (size["height"], size["width"])
        if isinstance(size, Mapping)
        else (size if isinstance(size, (list, tuple)) else (size, size))
    )
    channels = getattr(config, "num_channels", 3)
    frames = [config.num_frames] if hasattr(config, "num_frames") else []
    return ["batch", *frames, channels, int(height), int(width)]
