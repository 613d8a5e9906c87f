"""Derives the inputs of a transformers model from its configuration, forward's parameters and their docstring.

Source: https://huggingface.co/docs/transformers/main_classes/configuration
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError, listed
from stages.interface import call as forward_call
from stages.interface import lengths, parameters, pictures
from stages.interface.interface import Dim, Input, Interface
from stages.interface.parameters import Model

MOST_WAYS = 24  # how many ways to call a model are tried in turn


@dataclass(frozen=True)
class Derived:
    """The derived interface of a model.

    Args:
        interface: The inputs, the dimensions that they name, and how forward is called with them.
        says: A text with what was left out or narrowed, and why.
    """

    interface: Interface
    says: Sequence[str]


def interface(
    module: Any,
    dims: Mapping[str, Dim],
    call: Mapping[str, Any] | None,
    picture: Sequence[int] | None = None,
    accepts: Callable[[Interface], bool] = lambda _: True,
) -> Derived:
    """The module's inputs, each passed by keyword, and the `dims` that their shapes name, within the model's limits.

    Where an input can have several shapes, such as a waveform with or without an axis of channels, it gets the first
    that the model accepts.

    Args:
        module: A transformers PreTrainedModel.
        dims: batch, sequence, decoder_sequence, samples and frames, as far as the shapes need them.
        call: Plain values for further parameters, in `kwargs`.
        picture: Height and width from its folder's preprocessor_config.json; None where there is none.
        accepts: Whether the model runs when it is called with an interface.

    Raises ConfigError when the module is no such model, or a dimension that it needs is missing.
    """
    config = getattr(module, "config", None)
    if config is None or not hasattr(module, "main_input_name"):
        raise ConfigError(
            f"inputs is null, and {type(module).__name__} does not say what it takes: only transformers models do",
            allowed="one entry for each tensor that forward takes",
            command="'model.inputs={input: {shape: [batch, 3, 224, 224]}}'",
        )
    signature = inspect.signature(module.forward).parameters
    size, assumed = pictures.size(config, picture)
    main = module.main_input_name if isinstance(module.main_input_name, str) else module.main_input_name[0]
    chooses = type(module).__name__.endswith("ForMultipleChoice")
    choices, left_out = parameters.inputs(Model(config, signature, module.forward.__doc__ or "", size, main, chooses))
    unknown = [name for name in _required(signature) if name not in choices]
    if unknown or not choices:
        unknown = unknown or [main]
        raise ConfigError(
            f"inputs is null, and nothing is known of {type(module).__name__}'s {listed(unknown)}",
            allowed="one entry for each tensor that forward takes",
            command=f"'model.inputs={{{', '.join(f'{n}: {{shape: […]}}' for n in [*choices, *unknown])}}}'",
        )
    if call and call.get("args"):
        raise ConfigError("call has args, and inputs that the model names itself are passed by name", allowed="kwargs")
    ways = itertools.islice(itertools.product(*choices.values()), MOST_WAYS)
    candidates = [_called(module, dict(zip(choices, way, strict=True)), dims, call) for way in ways]
    chosen = (
        next((d for d in candidates if accepts(d.interface)), candidates[0]) if len(candidates) > 1 else candidates[0]
    )
    has_pictures = any(size == tuple(spec.shape[-2:]) for spec in chosen.interface.inputs.values())
    says = [*(f"{name} is left out: {why}" for name, why in left_out.items()), *chosen.says]
    return Derived(chosen.interface, [*says, assumed] if assumed and has_pictures else says)


def _called(
    module: Any, inputs: Mapping[str, Input], dims: Mapping[str, Dim], call: Mapping[str, Any] | None
) -> Derived:
    used = {d for spec in inputs.values() for d in spec.names}
    if missing := sorted(used - set(dims)):
        raise ConfigError(
            f"dims has no {listed(missing)}, which {type(module).__name__} needs",
            allowed=listed(sorted(used)),
            command=f"'+model.dims.{missing[0]}={{min: 1, opt: 2, max: 8}}'",
        )
    fixed = {"use_cache": False} if "use_cache" in inspect.signature(module.forward).parameters else {}
    kwargs = {name: name for name in inputs} | fixed | dict((call or {}).get("kwargs", {}))
    complete = {"args": [], "kwargs": kwargs}
    if wrong := forward_call.problems(complete, inputs):
        raise ConfigError(wrong)
    fitted, narrowed = lengths.fitted(module, {n: d for n, d in dims.items() if n in used})
    ranges = {n: d for n, d in fitted.items() if isinstance(d, Dim)}
    return Derived(Interface({n: _at(spec, fitted) for n, spec in inputs.items()}, ranges, call=complete), narrowed)


def _required(signature: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    for name, parameter in signature.items():
        if parameter.default is parameter.empty and parameter.kind == parameter.POSITIONAL_OR_KEYWORD:
            yield name


def _at(spec: Input, fitted: Mapping[str, Dim | int]) -> Input:
    """The input, with a number for each dimension that can have one size only."""
    shape = [d if isinstance(size := fitted.get(d, d), Dim) else size for d in spec.shape]
    return Input(shape, spec.dtype, spec.fill)
