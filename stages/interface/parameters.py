"""The input for each parameter of a transformers model's forward: by its name, else by the shape in its docstring.

Source: https://huggingface.co/docs/transformers/glossary, and the docstrings of forward
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.interface.interface import Input

# Special tokens are not drawn: models stop, pool, pad or look for a picture at them.
SPECIAL = re.compile(r"\w+_(token_id|token_index)")
# Tokens in input_ids that mark a picture or a sound, which is passed separately.
PLACEHOLDERS = re.compile(r"(image|video|audio|media|vision|speech|sound|boi|im)_(token_id|token_index|patch_id)")
# The inputs that carry it.
BESIDE_TEXT = (
    "pixel_values", "pixel_values_videos", "pixel_values_images", "input_features", "input_values", "image_patches",
)  # fmt: skip
# Words of docstrings for a dimension that may have any size, and our names.
DIMENSIONS = {
    "batch_size": "batch", "bs": "batch", "batch": "batch", "episode_length": "sequence",
    "sequence_length": "sequence", "seq_length": "sequence", "seq_len": "sequence", "token_sequence_length": "sequence",
    "target_sequence_length": "decoder_sequence",
}  # fmt: skip
CHOICES = 2  # answers to choose from
PAGE = 1001  # coordinates of a page, the last one included
FRAMES = 8  # of a film
LETTERS = [32, 0xD800]  # code points that are no control characters, up to the surrogates
# Fields with the number of values in a frame of a spectrogram.
BINS = (
    "num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel", "input_dim", "feat_in", "mel_bins",
    "num_mel_channels", "feature_size",
)  # fmt: skip
HEIGHTS, WIDTHS = ("height", "image_height"), ("width", "image_width")


@dataclass(frozen=True)
class Model:
    """Facts about a model that need no run.

    Args:
        config: Its configuration.
        parameters: forward's parameters by name.
        doc: forward's docstring.
        size: Height and width of the pictures that it takes.
        main: The model's main input.
        chooses: Whether it takes several answers to choose from, each a text.
    """

    config: Any
    parameters: Mapping[str, inspect.Parameter]
    doc: str
    size: tuple[int, int]
    main: str
    chooses: bool = False

    def field(self, *names: str) -> Any:
        """The first of these fields that the configuration, or one inside it, has."""
        inside = ("audio_config", "encoder_config", "vision_config", "backbone_config", "text_config", "encoder")
        parts = [self.config, *(p for n in inside if (p := getattr(self.config, n, None)) is not None)]
        return next((v for n in names for p in parts if (v := getattr(p, n, None)) is not None), None)


def inputs(model: Model) -> tuple[dict[str, Sequence[Input]], dict[str, str]]:
    """The possible specifications of each input, the likeliest first; and the inputs left out, with reasons."""
    by_name: dict[str, Sequence[Input]] = {name: [spec] for name, spec in _text(model)}
    left_out = {}
    for name, rule in RULES.items():
        if name in model.parameters and (specs := rule(model)):
            by_name[name] = specs
    if "input_ids" in by_name and (token := _placeholder(model.config)):
        for name in (n for n in BESIDE_TEXT if n in by_name and not _is_required(model.parameters[n])):
            del by_name[name]
            left_out[name] = f"it goes with {token} in input_ids, which model.inputs can say; text alone is asked"
    for name, parameter in model.parameters.items():
        is_needed = name not in left_out and (_is_required(parameter) or name == model.main)
        if name not in by_name and is_needed and (spec := _documented(name, model)) is not None:
            by_name[name] = [spec]
    return by_name, left_out


def tokens(config: Any, whole: Any) -> dict[str, list[int]]:
    """The largest range of the vocabulary that is free of special tokens, as a fill.

    Args:
        config: The configuration of the part that reads text.
        whole: The configuration of the whole model, which may name further tokens.
    """
    token_ids = {v for c in (config, whole) for n, v in vars(c).items() if SPECIAL.fullmatch(n) and isinstance(v, int)}
    special = {v for v in token_ids if 0 <= v < config.vocab_size}
    ends = [-1, *sorted(special), config.vocab_size]
    low, high = max(itertools.pairwise(ends), key=lambda gap: gap[1] - gap[0])
    return {"integers": [low + 1, high] if high - low > 1 else [low, high]}


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind == parameter.POSITIONAL_OR_KEYWORD


def _placeholder(config: Any) -> str:
    """The field with the token for a picture or a sound; empty where text and pictures are separate."""
    return next((n for n in vars(config) if PLACEHOLDERS.fullmatch(n) and getattr(config, n) is not None), "")


def _part(config: Any, name: str, field: str) -> Any:
    """The configuration that has a field: the model's own, or an inner one."""
    return next((c for c in (config, getattr(config, name, None)) if getattr(c, field, None) is not None), None)


def _text(model: Model) -> Iterator[tuple[str, Input]]:
    config = _part(model.config, "text_config", "vocab_size")
    if "input_ids" not in model.parameters or (config is None and not hasattr(model.config, "num_hash_buckets")):
        return
    row: list[Any] = ["batch", *([CHOICES] if model.chooses else []), "sequence"]
    yield (
        "input_ids",
        Input(row, "int64", tokens(config, model.config) if config is not None else {"integers": LETTERS}),
    )
    if "attention_mask" in model.parameters:
        yield "attention_mask", Input(row, "int64", "mask")
    if (types := getattr(config, "type_vocab_size", 0)) > 1 and "token_type_ids" in model.parameters:
        yield "token_type_ids", Input(row, "int64", {"integers": [0, types]})
    if "bbox" in model.parameters:  # of each word, in thousandths of the page
        most = getattr(config, "max_2d_position_embeddings", PAGE)
        yield "bbox", Input([*row, 4], "int64", {"boxes": [0, min(most, PAGE)]})


def _pixels(model: Model) -> list[Input]:
    """One picture a row; or frames of a film, pictures in any number, or a pair of them."""
    channels = model.field("num_channels", "in_channels")
    one = [channels if isinstance(channels, int) else 3, *model.size]
    frames = model.field("num_frames")
    shapes = [["batch", frames, *one]] if isinstance(frames, int) else []
    return [Input(shape, fill="normal") for shape in (*shapes, ["batch", *one], ["batch", 1, *one], ["batch", 2, *one])]


def _video(model: Model) -> list[Input]:
    frames = model.field("num_frames", "frames_per_clip") or FRAMES
    return [Input(["batch", frames, model.field("num_channels", "in_chans") or 3, *model.size], fill="normal")]


def _waveform(model: Model) -> list[Input]:
    """A waveform, with an axis of channels or without; or a spectrogram of a fixed size."""
    bins, longest = model.field("num_mel_bins"), getattr(model.config, "max_length", None)
    if bins and longest:
        return [Input(["batch", longest, bins], fill="normal")]
    return [Input(["batch", *axis, "samples"], fill="normal") for axis in ([], [model.field("audio_channels") or 1])]


def _features(model: Model) -> list[Input]:
    """A spectrogram: Whisper's of a fixed length, or frames in any number, after the bins or before them."""
    bins = model.field(*BINS)
    if not isinstance(bins, int):
        return []
    shapes: list[list[Any]] = [["batch", "frames", bins], ["batch", bins, "frames"], ["batch", 1, "frames", bins]]
    if isinstance(longest := getattr(model.config, "max_source_positions", None), int):
        shapes.insert(0, ["batch", bins, 2 * longest])  # its first layer halves them
    return [Input(shape, fill="normal") for shape in shapes]


def _decoder(model: Model) -> list[Input]:
    config = _part(model.config, "decoder", "vocab_size") or _part(model.config, "text_config", "vocab_size")
    if config is None or not model.config.is_encoder_decoder:
        return []
    return [Input(["batch", "decoder_sequence"], "int64", tokens(config, model.config))]


def _past(model: Model) -> list[Input]:
    """A time series, of one channel or several."""
    channels = model.field("num_input_channels")
    return _series(model, *([channels] if channels else []))


def _past_features(model: Model) -> list[Input]:
    return _series(model, model.config.num_time_features)


def _series(model: Model, *features: int, fill: str = "normal") -> list[Input]:
    """The known past of a series, plus as much before it as the model looks back."""
    length = model.field("context_length")
    if not isinstance(length, int):
        return []
    return [Input(["batch", length + max(getattr(model.config, "lags_sequence", [0])), *features], fill=fill)]


def _of_shape(*words: str, fill: Any = "normal") -> Callable[[Model], list[Input]]:
    def rule(model: Model) -> list[Input]:
        shape = [_size(word, model) for word in words]
        dtype = "int64" if isinstance(fill, Mapping) else "float32"
        return [] if None in shape else [Input(shape, dtype, fill)]

    return rule


def _future(model: Model, *features: str) -> list[Input]:
    """The future to predict: only models that are trained with it step by step read it."""
    is_read = hasattr(model.config, "lags_sequence")
    return _of_shape("batch", "prediction_length", *features)(model) if is_read else []


RULES: Mapping[str, Callable[[Model], Sequence[Input]]] = {
    "pixel_values": _pixels,
    "pixel_values_videos": _video,
    "input_values": _waveform,
    "input_features": _features,
    "decoder_input_ids": _decoder,
    "past_values": _past,
    # Autoformer, Informer and the time series transformer.
    "past_time_features": _past_features,
    "past_values_padding": lambda model: [Input(spec.shape, "int64", "zeros") for spec in _series(model)],
    "freq": _of_shape("batch", "1", fill={"integers": [0, 3]}),  # TimesFM's docstring has another shape
    "past_observed_mask": lambda model: _series(model, fill="mask") if hasattr(model.config, "lags_sequence") else [],
    "future_values": lambda model: _future(model),
    "future_time_features": lambda model: _future(model, "num_time_features"),
    # Lxmert: a detector's features of 36 parts of a picture.
    "visual_feats": _of_shape("batch", "36", "visual_feat_dim"),
    "visual_pos": _of_shape("batch", "36", "4", fill="uniform"),
    # Decision Transformer: an episode so far.
    "states": _of_shape("batch", "sequence_length", "state_dim"),
    "actions": _of_shape("batch", "sequence_length", "act_dim"),
    "returns_to_go": _of_shape("batch", "sequence_length", "1"),
    "timesteps": _of_shape("batch", "sequence_length", fill={"integers": [0, 64]}),
}


def _shape(name: str, doc: str) -> list[str]:
    """The words of a parameter's shape in a docstring; empty if it has none."""
    match = re.search(rf"^\s*{name} \(`[^`]*` of shape `\(([^`]*)\)`", doc, re.MULTILINE)
    return [w.strip() for w in match[1].split(",") if w.strip()] if match else []


def _documented(name: str, model: Model) -> Input | None:
    """A parameter from forward's docstring, if each word of its shape is a number, a field or a dimension."""
    words = _shape(name, model.doc)
    shape = [_size(word, model) for word in words]
    if not shape or None in shape:
        return None
    kind = re.search(rf"^\s*{name} \(`([^`]*)`", model.doc, re.MULTILINE)
    integers = kind is not None and "Long" in kind[1]
    if "mask" in name:
        return Input(shape, "int64" if integers or "Float" not in kind[1] else "float32", "mask") if kind else None
    if integers:
        return Input(shape, "int64", {"integers": [0, 2]})
    return Input(shape, fill="normal")


def _size(word: str, model: Model) -> int | str | None:
    if word.isdigit():
        return int(word)
    if word in DIMENSIONS:
        return DIMENSIONS[word]
    if word in HEIGHTS or word == "image_size":
        return model.size[0]
    if word in WIDTHS:
        return model.size[1]
    number = model.field(word.removeprefix("config."))
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None
