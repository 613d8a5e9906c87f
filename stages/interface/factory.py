"""Imports the object at a dotted path, and builds the module that a factory returns."""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, StageError, nearest
from stages.interface import call as forward_call

if TYPE_CHECKING:
    import torch

OURS = Path(__file__).parents[1]
LIBRARIES = tuple({sysconfig.get_path(p) for p in ("stdlib", "platstdlib", "purelib", "platlib")})


def find(path: str, what: str = "factory", command: str = "model.factory=my_package.net.Net") -> Any:
    """The object at a dotted path.

    Args:
        path: The dotted path of a class or function.
        what: Its role, for messages.
        command: What to type if it does not exist.

    Raises:
        ConfigError: When it cannot be imported or called.
    """
    home, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(home)
    except (Exception, SystemExit) as e:  # a module may raise anything while it is imported, or try to end the program
        raise ConfigError(f"{what} {path} cannot be imported: {message_of(e)}") from e
    if not callable(target := getattr(module, name, None)):
        raise ConfigError(
            f"{what} {path}: {home} has no '{name}' to call{nearest(name, vars(module))}", command=command
        )
    return target


def build(
    factory: str,
    kwargs: Mapping[str, Any],
    seed: int,
    extra: Mapping[str, Any] | None = None,
    prepare: Callable[[Mapping[str, Any], str], Any] | None = None,
) -> Any:
    """The module that a factory returns, drawn with the seed; the caller's random generator does not change.

    Args:
        factory: Dotted path of a class or function.
        kwargs: Its keyword arguments from the configuration.
        seed: The seed of torch's generator while it runs.
        extra: Further keyword arguments of ours.
        prepare: Builds the objects that `kwargs` describes, drawn with the seed too; see objects.built.

    Raises:
        ConfigError: When it cannot be imported, or does not accept its arguments.
        StageError: When it raises anything else, or returns no module, or one that holds itself.
    """
    import torch

    call = find(factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arguments = prepare(kwargs, "kwargs") if prepare else kwargs
        try:
            # A scripted function is the model itself; its arguments are inputs.
            module = call if isinstance(call, torch.jit.ScriptFunction) else call(**{**arguments, **(extra or {})})
        except RecursionError as e:
            raise StageError(f"factory {factory} calls itself without end: {message_of(e)}") from e
        except (TypeError, ValueError) as e:
            raise ConfigError(
                f"factory {factory} does not accept kwargs {dict(kwargs)}: {message_of(e)}",
                command="'+model.kwargs={…}'",
            ) from e
        except (Exception, SystemExit) as e:  # the factory is the user's own code
            raise StageError(f"factory {factory} failed with kwargs {dict(kwargs)}: {message_of(e)}") from e
    if isinstance(module, torch.jit.ScriptFunction):
        module = forward_call.of_function(module)
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"factory {factory} returned {type(module).__name__}",
            allowed="a torch.nn.Module, or a torch.jit.ScriptFunction",
        )
    refuse_cycles(module, f"the module that {factory} returned")
    return module


def refuse_cycles(module: torch.nn.Module, whose: str) -> None:
    """Raises StageError for a module that is its own submodule: eval() and state_dict() would not terminate."""
    above: dict[int, str] = {}
    done: set[int] = set()

    def visit(part: torch.nn.Module, path: str) -> None:
        if id(part) in above:
            held_by = f"'{above[id(part)]}'" if above[id(part)] else "it"
            raise StageError(
                f"{whose} holds itself: its submodule '{path}' is {held_by} again",
                allowed="submodules that form a tree",
                command=f"keep '{path.rpartition('.')[2]}' where it is no submodule: in a tuple, say",
            )
        if id(part) in done:
            return
        above[id(part)] = path
        for name, child in part.named_children():
            visit(child, f"{path}.{name}".lstrip("."))
        del above[id(part)]
        done.add(id(part))

    visit(module, "")


def message_of(error: BaseException) -> str:
    """An error in one line: type, message, and the line of the user's own code that it came from."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}{first and f': {first}'} ({_where(error)})"


def _where(error: BaseException) -> str:
    """The innermost line of the user's code; the innermost line of all when there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        f for f in frames if not f.filename.startswith(("<", *LIBRARIES)) and not Path(f.filename).is_relative_to(OURS)
    ]
    at = (theirs or list(frames))[-1]
    return f"{at.filename}:{at.lineno}"
