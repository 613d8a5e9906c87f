"""The inputs that a transformers model says it takes: from its configuration, forward's parameters and their docstring.

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

MOST_WAYS = 24  # of calling a model, tried in turn


@dataclass(frozen=True)
class Derived:
    """What a model takes.

    Args:
        interface: The inputs, the dimensions that they name, and how forward is called with them.
        says: What was left out or narrowed, in words, and why.
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
    """What the module takes, each input by keyword; of `dims`, those that a shape names, within what the model can do.

    Where an input can be of several shapes, such as a waveform with an axis of channels and without, it is the first
    that the model accepts.

    Args:
        module: A transformers PreTrainedModel.
        dims: batch, sequence, decoder_sequence, samples and frames, as far as the shapes need them.
        call: Plain values for further parameters, in `kwargs`.
        picture: Height and width that its folder's preprocessor_config.json says; None where there is none.
        accepts: Whether the model answers when it is called so.

    Raises ConfigError when the module is no such model or a dimension that it needs is missing.
    """
    config = getattr(module, "config", None)
    if config is None or not hasattr(module, "main_input_name"):
        raise ConfigError(
            f"inputs is null, and {type(module).__name__} does not say what it takes: only transformers models do",
            allowed="one entry for each tensor that forward takes",
            command="'model.inputs={input: {shape: [batch, 3, 224, 224]}}'",
        )
    taken = inspect.signature(module.forward).parameters
    size, assumed = pictures.size(config, picture)
    main = module.main_input_name if isinstance(module.main_input_name, str) else module.main_input_name[0]
    chooses = type(module).__name__.endswith("ForMultipleChoice")
    choices, left_out = parameters.inputs(Model(config, taken, module.forward.__doc__ or "", size, main, chooses))
    unknown = [name for name in _required(taken) if name not in choices]
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
    made = [_called(module, dict(zip(choices, way, strict=True)), dims, call) for way in ways]
    found = next((d for d in made if accepts(d.interface)), made[0]) if len(made) > 1 else made[0]
    has_pictures = any(size == tuple(spec.shape[-2:]) for spec in found.interface.inputs.values())
    says = [*(f"{name} is left out: {why}" for name, why in left_out.items()), *found.says]
    return Derived(found.interface, [*says, assumed] if assumed and has_pictures else says)


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


def _required(taken: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    for name, parameter in taken.items():
        if parameter.default is parameter.empty and parameter.kind == parameter.POSITIONAL_OR_KEYWORD:
            yield name


def _at(spec: Input, fitted: Mapping[str, Dim | int]) -> Input:
    """The input, with a number for each dimension that can have one size only."""
    shape = [d if isinstance(held := fitted.get(d, d), Dim) else held for d in spec.shape]
    return Input(shape, spec.dtype, spec.fill)
