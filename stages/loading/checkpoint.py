"""Reads a weights file, finds the state dict in it, and loads that into a module."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, Problem, StageError, listed, nearest
from stages.loading import archive, shards
from stages.loading.forms import adapter, inert, lightning, quantized, weight_norm
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import torch

State = Mapping[str, Any]

# The names under which training loops store a state dict; they may be nested, as in ema.state_dict.
NAMES = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
    "ema",
    "ema_state_dict",
    "model_ema",
    "params_ema",
)
DEEPEST = 3


@dataclass(frozen=True)
class StateDict:
    """A state dict, and how it was found.

    Args:
        state: Name to tensor.
        says: A text that says what was picked and stripped; empty when the file is the state dict itself.
    """

    state: State
    says: str = ""


@dataclass(frozen=True)
class Mismatch:
    """The weights that did not fit, from a loading without `strict`.

    Args:
        caution: Keys that are missing and keys that are unexpected, in a sentence; empty when everything fitted.
        drawn: The keys of the model that the file did not fill.
    """

    caution: str = ""
    drawn: tuple[str, ...] = ()


def read(files: Sequence[Path]) -> Any:
    """The content of a file, or the tensors of all shards of an index, on the CPU.

    .pth, .pt, .ckpt and .bin are read with weights_only, which runs no code; .safetensors cannot contain any. Objects
    of other classes beside the weights become inert.Inert.

    Args:
        files: One file; or an index and its shards, as shards.files returns them.

    Raises:
        StageError: When a file is damaged or would have run code, or a shard lacks what the index promises.
    """
    if len(files) == 1:
        return _read_one(files[0])
    state: dict[str, Any] = {}
    promised = shards.weight_map(files[0])
    for shard in files[1:]:
        content = _read_one(shard)
        if not isinstance(content, dict):
            raise StageError(f"weights={shard.name} holds {type(content).__name__}, not a shard of a state dict")
        if lacking := [k for k, f in promised.items() if f == shard.name and k not in content]:
            raise StageError(
                f"weights={shard.name} lacks {len(lacking)} tensors that {files[0].name} says are in it: "
                + listed(lacking),
                command="compare the files' SHA-256 with the originals'",
            )
        state |= {k: v for k, v in content.items() if promised.get(k, shard.name) == shard.name}
    return state


def _read_one(path: Path) -> Any:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # readers raise anything on a damaged file
        if isinstance(e, pickle.UnpicklingError):
            with contextlib.suppress(ValueError):
                content = inert.read(path)
                if is_state(content) or any(_states(content)):
                    return content
        raise StageError(unreadable(path, e)) from e


def unreadable(path: Path, error: Exception) -> Problem:
    """Why a reader raised, as far as that is known."""
    if (whole := _whole_model(path)) is not None:
        return Problem(
            f"weights={path.name} holds a whole model ({whole}), not weights",
            allowed="a state dict: torch.save(model.state_dict(), …), or .safetensors",
            command=f"model=module_file model.weights={path.name} opens it as it is",
        )
    for problem in quantized.refused(_classes(path), f"weights={path.name}"):
        return problem
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error).lower().replace(" ", "_"):
        named_class = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"(\S+\.\S+) class", str(error))
        what = f": {named_class[1]}" if named_class else ""
        return Problem(
            f"weights={path.name} was refused: it is a pickle that wants to run code{what}",
            allowed="tensors, numbers, strings, and lists and mappings of these: torch.save(model.state_dict(), …)",
            command="where you trust the file, keep the state dict alone: "
            f"torch.save(torch.load('{path.name}', weights_only=False)['state_dict'], 'weights.pth')",
        )
    return Problem(
        f"weights={path.name} cannot be read as a checkpoint ({path.stat().st_size} bytes): {first_line(error)}",
        allowed="a whole .pth, .pt, .bin or .safetensors file",
        command="compare its size and SHA-256 with the original's",
    )


def _classes(path: Path) -> list[str]:
    with contextlib.suppress(ValueError), path.open("rb") as f:
        return archive.classes(f)
    return []


def _whole_model(path: Path) -> str | None:
    try:
        with path.open("rb") as f:
            kind = archive.format_of(f)
    except ValueError:
        return None
    return str(kind) if kind in (archive.Format.TORCHSCRIPT, archive.Format.PROGRAM) else None


def pick(content: Any, key: str | None, prefixes: Sequence[str], own: State, origin: str) -> StateDict:
    """The state dict in a file's content, with the model's own keys.

    Prefixes of wrappers are stripped, the model's part of a LightningModule is selected, and normalised weights get the
    model's spelling.

    Args:
        content: The value that `read` returned.
        key: Where the state dict is, as a dotted path; None to look under the names that training loops use.
        prefixes: Prefixes that wrappers put before each key.
        own: The model's state dict.
        origin: The file's name in messages.

    Raises:
        ConfigError: When there is nothing at `key`, or several state dicts would fit.
        StageError: When there is no state dict.
    """
    picked = _picked(content, key, prefixes, own, origin)
    if problems := [*adapter.refused(list(picked.state), origin), *quantized.problems(picked.state, origin)]:
        raise StageError(problems)
    if lightning.wrote(content) and not _fits(picked.state, own):
        picked = _part(picked, prefixes, own, origin)
    state, rewritten = weight_norm.fitted(picked.state, own)
    left_out = inert.left_out(content)
    says = [picked.says, f"{rewritten} normalised weights rewritten" if rewritten else ""]
    says += [f"left out objects of {listed(left_out, 3)}" if left_out else ""]
    return StateDict(state, ", ".join(filter(None, says)))


def _picked(content: Any, key: str | None, prefixes: Sequence[str], own: State, origin: str) -> StateDict:
    if key is not None:
        return _without(prefixes, _at(content, key, origin), own, f"took '{key}'")
    if is_state(content):
        return _without(prefixes, content, own, "")
    by_path = {path: state for path, state in _states(content) if all(p in NAMES for p in path.split("."))}
    candidates = {path: _without(prefixes, state, own, f"took '{path}'") for path, state in by_path.items()}
    if len(candidates) > 1:
        # The weights of a teacher or a discriminator do not fit this model.
        candidates = {p: f for p, f in candidates.items() if _fits(f.state, own)} or candidates
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    if candidates:
        raise ConfigError(
            f"{origin} holds several state dicts: {listed(candidates)}",
            allowed="one of them, by name",
            command=f"model.checkpoint_key={list(candidates)[-1]}",
        )
    elsewhere = [path for path, _ in _states(content)]
    contents = listed(map(str, content)) if isinstance(content, dict) else type(content).__name__
    raise StageError(
        f"{origin} holds no state dict but {contents}",
        allowed=f"a mapping from parameter names to tensors, by itself or under one of {listed(NAMES, 20)}",
        command=f"model.checkpoint_key={elsewhere[0]}" if elsewhere else "torch.save(model.state_dict(), …)",
    )


def _part(whole: StateDict, prefixes: Sequence[str], own: State, origin: str) -> StateDict:
    """The part of a LightningModule's state that is this model, if there is one. Raises ConfigError for several."""
    parts = lightning.parts(whole.state, own)
    chosen = {p: state for p, state in parts.items() if len(parts) == 1 or p in prefixes}
    if len(parts) > 1 and len(chosen) != 1:
        raise ConfigError(
            f"{origin} holds this model several times: {listed(parts)}",
            allowed="one of them",
            command=f"'model.prefixes=[{next(iter(parts))}]'",
        )
    for prefix, state in chosen.items():
        others = [k for k in whole.state if not k.startswith(prefix)]
        beside = f", left out {len(others)} tensors beside it: {listed(others, 3)}" if others else ""
        return StateDict(state, ", ".join(filter(None, [whole.says, f"stripped '{prefix}'{beside}"])))
    return whole


def is_state(content: Any) -> bool:
    """Whether this is a mapping from names to tensors; what a module adds by get_extra_state may be anything."""
    import torch

    return (
        isinstance(content, Mapping)
        and any(torch.is_tensor(v) for v in content.values())
        and all(isinstance(k, str) and (torch.is_tensor(v) or k.endswith("_extra_state")) for k, v in content.items())
    )


def _states(content: Any, path: str = "") -> Iterator[tuple[str, State]]:
    """Every state dict below a mapping, with its dotted path."""
    if not isinstance(content, Mapping) or path.count(".") >= DEEPEST - 1:
        return
    for name, value in content.items():
        if not isinstance(name, str):
            continue
        at = f"{path}.{name}".lstrip(".")
        if is_state(value):
            yield at, value
        else:
            yield from _states(value, at)


def _at(content: Any, key: str, origin: str) -> State:
    there = dict(_states(content))
    if key not in there:
        raise ConfigError(
            f"checkpoint_key={key}: {origin} has no state dict there{nearest(key, there)}",
            allowed=listed(there) or "null: the file holds no mapping with a state dict in it",
            command=f"model.checkpoint_key={next(iter(there), 'null')}",
        )
    return there[key]


def _without(prefixes: Sequence[str], state: State, own: State, says: str) -> StateDict:
    """The state, with wrappers' prefixes stripped so that the most keys fit; unchanged if stripping does not help."""
    tries = [StateDict(state, says)]
    while (shorter := _one_less(prefixes, tries[-1], own)) is not None:
        tries.append(shorter)
    # Of equals the first is taken, with the fewest prefixes stripped.
    return max(tries, key=lambda f: sum(k in own for k in f.state))


def _one_less(prefixes: Sequence[str], longer: StateDict, own: State) -> StateDict | None:
    for prefix in prefixes:
        others = [k for k in longer.state if not k.startswith(prefix)]
        shorter = {k.removeprefix(prefix): v for k, v in longer.state.items()}
        # If a key fits unchanged, or two keys would become one, the prefix is part of the names.
        if len(others) < len(longer.state) == len(shorter) and not any(k in own for k in others):
            return StateDict(shorter, ", ".join(filter(None, [longer.says, f"stripped '{prefix}'"])))
    return None


def load_into(module: torch.nn.Module, state: State, origin: str, *, strict: bool) -> Mismatch:
    """Loads a state dict.

    Args:
        module: Unchanged when something is raised.
        state: Name to tensor.
        origin: The file's name in messages.
        strict: Whether every key must be present, known, and of its shape. Otherwise what fits is loaded.

    Raises:
        StageError: With the keys that are missing, unexpected or of another shape; or when none fits at all.
    """
    own = module.state_dict()
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    other = [k for k in own if k in state and _shape(own[k]) != _shape(state[k])]
    shapes = [f"{k} is {_shape(state[k])} in the file and {_shape(own[k])} in the model" for k in other]
    wrong = [
        f"{what}: {listed(keys)}"
        for what, keys in (
            (f"lacks {len(missing)} keys of the model", missing),
            (f"has {len(unexpected)} keys that the model does not know", unexpected),
            (f"has {len(shapes)} tensors of another shape", shapes),
        )
        if keys
    ]
    fitting = {k: v for k, v in state.items() if k in own and k not in other}
    if wrong and (strict or not fitting):
        command = "weights and model.factory must belong together"
        command += "; model.strict=false loads what fits" if fitting else ""
        raise StageError([Problem(f"{origin} {what}", command=command) for what in wrong])
    module.load_state_dict(fitting, strict=not wrong)
    return Mismatch(f"{origin} {'; it '.join(wrong)}" if wrong else "", (*missing, *other))


def _fits(state: State, own: State) -> bool:
    return all(k in state and _shape(state[k]) == _shape(v) for k, v in own.items())


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if hasattr(value, "shape") else None
