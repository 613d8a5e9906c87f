"""Where a model's weights come from: a file, torchvision's own, or a seeded draw."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import re
import threading
import uuid
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.stage import World

log = logging.getLogger(__name__)

SOURCES = ("auto", "pretrained", "random")
TORCHVISION_FILES = Path(__file__).with_name("torchvision_weights.json")
TORCHVISION_URL = "https://download.pytorch.org/models/"
# A host that does not answer within this is not worth waiting for when random weights would serve.
CONNECT_SECONDS = 6.0
# For how long a run with weights=auto goes by what the last one found, before it tries the host again.
OFFLINE_SECONDS = 3600.0


def pretrained_file(table: str | None, name: str) -> str | None:
    """The name of the file with a model's published weights, as torchvision's weights tables give it.

    Args:
        table: Whose table to look in; "torchvision" is the only one.
        name: The model's name in it.
    """
    if table != "torchvision":
        return None
    known: dict[str, str] = json.loads(TORCHVISION_FILES.read_text())
    return known.get(name)


def cached(file: str) -> Path:
    """Where torch.hub keeps a downloaded file, and where ours go too: a download is shared both ways."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = os.environ.get("TORCH_HOME") or str(cache / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / Path(file).name


def fetch(file: str, world: World, *, again: bool) -> str:
    """Downloads a file into torch.hub's folder. Returns the empty string, or why it could not be had.

    Args:
        file: Its name, which ends in the first eight digits of its SHA-256.
        world: Remembers for a while that the host cannot be reached, so that warm runs do not wait for it.
        again: Whether to try although it was found unreachable a moment ago.
    """
    import urllib.error  # here: a warm run downloads nothing, and http takes a while to import

    fact = f"cannot download {file}"
    if not again and (why := world.recall(fact, OFFLINE_SECONDS)) is not None:
        return why
    try:
        _download(TORCHVISION_URL + file, cached(file))
    except (OSError, ValueError) as e:
        why = str(e.reason if isinstance(e, urllib.error.URLError) else e)
        world.remember(fact, why)
        log.info("not to be had: %s", why)
        return why
    return ""


def _download(url: str, target: Path) -> None:
    """Raises OSError, urllib's errors among them; ValueError when the content is not what its name promises."""
    log.info("downloading %s", url)
    response = _opened(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}")
    digest = hashlib.sha256()
    try:
        with response, beside.open("wb") as f:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                f.write(chunk)
        refuse_unless_named(target, digest.hexdigest())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _opened(url: str) -> Any:
    """An open connection within CONNECT_SECONDS, the name look-up included, which a socket's time-out leaves out."""
    import urllib.request

    answer: queue.Queue[Any] = queue.Queue()

    def connect() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=CONNECT_SECONDS))
        except Exception as e:  # handed to the thread that waits, which raises it
            answer.put(e)

    threading.Thread(target=connect, daemon=True).start()
    try:
        got = answer.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:.0f} s") from None
    if isinstance(got, Exception):
        raise got
    return got


def refuse_unless_named(file: Path, sha256: str) -> None:
    """Holds a published file to the digits of its SHA-256 that its name ends in. Raises ValueError."""
    promised = re.split("[-_]", file.stem)[-1]
    if not sha256.startswith(promised):
        raise ValueError(f"{file.name} should have a SHA-256 that begins with {promised}; it begins with {sha256[:8]}")


def file_digest(path: Path, world: World) -> str:
    """The SHA-256 of a user's weights file. Raises ConfigError when it cannot be read."""
    try:
        return world.digest(path)
    except OSError as e:
        beside = listed(sorted(f.name for f in path.parent.glob(f"*{path.suffix}"))) if path.parent.is_dir() else ""
        raise ConfigError(
            f"weights={path} cannot be read: {e.strerror}",
            allowed=f"a .pth, .pt or .safetensors file, or one of {listed(SOURCES)}"
            + (f"; {path.parent} holds {beside}" if beside else ""),
            command="model.weights=/path/to/weights.pth",
        ) from e


def expect(path: Path, sha256: str) -> None:
    """Holds a file to the digest that its key was made with. Raises StageError, and OSError when it is gone."""
    with path.open("rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != sha256:
        raise StageError(
            f"weights={path.name} changed since the plan was made: its SHA-256 was {sha256} and is {found}",
            command="run the same command again once the file is complete",
        )


def read(path: Path) -> dict[str, Any]:
    """The state dict in a file: name to tensor on the CPU.

    .pth and .pt are read with weights_only, which runs no code; .safetensors cannot hold any.

    Raises:
        StageError: When the file is damaged, would have run code, or holds no state dict.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # readers raise anything on a damaged file
        raise StageError(_unreadable(path, e)) from e
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        held = listed(state) if isinstance(state, dict) else type(state).__name__
        raise StageError(
            f"weights={path.name} holds no state dict but {held}",
            allowed="a mapping from parameter names to tensors, as torch.save(model.state_dict(), …) writes it",
        )
    return state


def _unreadable(path: Path, error: Exception) -> Problem:
    import pickle

    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error).lower().replace(" ", "_"):
        wanted = next((line for line in str(error).splitlines() if "GLOBAL" in line or "class" in line), "")
        return Problem(
            f"weights={path.name} was refused: it is a pickle that wants to run code. {wanted.strip()}",
            allowed="tensors only: torch.save(model.state_dict(), …), or .safetensors",
            command="save the state dict again where you trust the file",
        )
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Problem(
        f"weights={path.name} cannot be read as a checkpoint ({path.stat().st_size} bytes): {first}",
        allowed="a whole .pth, .pt or .safetensors file",
        command="compare its size and SHA-256 with the original's",
    )


def load_into(module: Any, state: dict[str, Any], origin: str) -> None:
    """Loads a state dict strictly. Raises StageError with the keys that are missing, unexpected or of another shape."""
    own = module.state_dict()
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    shapes = [
        f"{k} is {tuple(state[k].shape)} in the file and {tuple(own[k].shape)} in the model"
        for k in own
        if k in state and own[k].shape != state[k].shape
    ]
    problems = [
        Problem(f"{origin} {what}: {listed(keys)}", command="weights and model.factory must belong together")
        for what, keys in (
            (f"lacks {len(missing)} keys of the model", missing),
            (f"has {len(unexpected)} keys that the model does not know", unexpected),
            (f"has {len(shapes)} tensors of another shape", shapes),
        )
        if keys
    ]
    if problems:
        raise StageError(problems)
    module.load_state_dict(state, strict=True)


def enliven(module: Any, seed: int) -> None:
    """Draws every weight matrix that a factory left at zero, such as the head of torchvision's ViT, from N(0, 0.02).

    A model whose last matrix is zero answers zero to everything, and every artifact of it would pass every check.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() >= 2 and parameter.is_floating_point() and not parameter.any():
                parameter.normal_(0.0, 0.02, generator=generator)
