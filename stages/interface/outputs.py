"""Splits what forward returns into named tensors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import Problem, StageError, listed, nearest
from stages.interface.interface import is_dotted, is_name

# A key of a mapping, an index of a sequence; an attribute is written ".name".
Path = tuple[Any, ...]


# As in a model's YAML: names, or mappings of a name to a path such as "0.boxes". Both are lists, so that one can
# replace the other: OmegaConf does not merge a mapping into a list.
Outputs = Sequence[str | Mapping[str, Any]] | None
ALLOWED = "null, [name, …] in the order of what forward returns, or [{name: path}, …] for some of it"


def problems(outputs: Outputs, inputs: Sequence[str]) -> list[Problem]:
    """What is wrong with `outputs`."""
    if outputs is None:
        return []
    if not outputs or not (all(isinstance(o, str) for o in outputs) or all(map(_is_choice, outputs))):
        return [Problem(f"outputs is {outputs}", allowed=ALLOWED, command="'model.outputs=null'")]
    called = names(outputs)
    wrong = [Problem(f"outputs is {listed(called)}", "names that differ")] if len(set(called)) < len(called) else []
    allowed = "letters, digits, underscores and dots, no word of Python's"
    wrong += [Problem(f"outputs names '{name}'", allowed) for name in called if not is_dotted(name)]
    return wrong + [Problem(f"outputs and inputs both name '{n}'", "names that differ") for n in called if n in inputs]


def _is_choice(output: Any) -> bool:
    return isinstance(output, Mapping) and len(output) == 1 and all(isinstance(name, str) for name in output)


def names(outputs: Outputs) -> list[str]:
    """The names in the setting, in order."""
    return [o if isinstance(o, str) else next(iter(o)) for o in outputs or ()]


def paths_of(returned: Any, outputs: Outputs, inputs: Sequence[str]) -> dict[str, Path]:
    """The path of each output by its name.

    Args:
        returned: The value that forward returned.
        outputs: As `problems` allows it. None gives every tensor a name from its path.
        inputs: Names that are already used.

    Raises:
        StageError: When a name has no tensor or a tensor has no name, or something returned is no tensor.
    """
    if outputs and isinstance(outputs[0], Mapping):
        chosen = {name: str(path) for o in outputs if isinstance(o, Mapping) for name, path in o.items()}
        return {name: _resolve(returned, path, name) for name, path in chosen.items()}
    paths = list(_leaves(returned, ()))
    if not paths:
        raise StageError("the model returns no tensor", allowed="at least one")
    if outputs is None:
        return _named_after_paths(paths, inputs)
    if len(outputs) != len(paths):
        raise StageError(
            f"outputs names {len(outputs)} ({listed(names(outputs))}), the model returns {len(paths)}: "
            + listed(map(_written, paths)),
            allowed=ALLOWED,
            command=f"'model.outputs=[{', '.join(_named_after_paths(paths, inputs))}]'",
        )
    return dict(zip(names(outputs), paths, strict=True))


def at(returned: Any, path: Path) -> Any:
    """The value at a path."""
    for step in path:
        returned = getattr(returned, step[1:]) if _is_attribute(step) else returned[step]
    return returned


def expression(name: str, path: Path) -> str:
    """The path as Python, after a variable's name: "returned['out'][0]"."""
    return name + "".join(step if _is_attribute(step) else f"[{step!r}]" for step in path)


def _is_attribute(step: Any) -> bool:
    return isinstance(step, str) and step.startswith(".") and step[1:].isidentifier()


def _children(value: Any) -> list[tuple[Any, Any]]:
    """The steps into a container, each with its child; none for anything else."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{f}", getattr(value, f)) for f in value._fields]
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)]
    return []


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    import torch

    if torch.is_tensor(value):
        yield path
    elif isinstance(value, (Mapping, list, tuple)) or _children(value):
        for step, child in _children(value):
            yield from _leaves(child, (*path, step))
    elif value is not None:
        raise StageError(
            f"the model returns {type(value).__name__} at {_written(path)}, which no graph can hold",
            allowed="tensors in tuples, lists, mappings and dataclasses; None is left out",
            command="'model.outputs=[{name: path}]' for the tensors that are wanted, or model.call to turn it off",
        )


def _named_after_paths(paths: Sequence[Path], used: Sequence[str]) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for path in paths:
        words = [re.sub(r"\W", "_", str(step), flags=re.ASCII).strip("_") or "output" for step in path]
        name = "_".join(words) if words and not words[0][0].isdigit() else "_".join(["output", *words])
        while name in names or name in used or not is_name(name):
            name += "_out"
        names[name] = path
    return names


def _resolve(returned: Any, chosen: str, name: str) -> Path:
    import torch

    path: Path = ()
    value = returned
    for word in filter(None, chosen.split(".")):
        steps = {_word(step): (step, child) for step, child in _children(value)}
        if isinstance(value, (list, tuple)):  # from the end, too
            steps |= {str(i - len(value)): (i - len(value), child) for i, child in enumerate(value)}
        if word not in steps:
            raise StageError(
                f"outputs.{name} is '{chosen}', and {_written(path)} has no '{word}'{nearest(word, steps)}",
                allowed=listed(steps) or f"it is {type(value).__name__}",
                command=f"'model.outputs=[{{{name}: PATH}}]'",
            )
        step, value = steps[word]
        path = (*path, step)
    if not torch.is_tensor(value):
        inside = listed(_word(step) for step, _ in _children(value))
        raise StageError(
            f"outputs.{name} is '{chosen}', which is {type(value).__name__}, no tensor",
            allowed=f"one of {inside} in it" if inside else "the path of a tensor",
        )
    return path


def _word(step: Any) -> str:
    return step[1:] if _is_attribute(step) else str(step)


def _written(path: Path) -> str:
    return ".".join(map(_word, path)) or "what forward returns"
