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
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.stage import World

if TYPE_CHECKING:
    import torch

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
    import urllib.request

    return answer_of(lambda: urllib.request.urlopen(url, timeout=CONNECT_SECONDS))


def answer_of(ask: Callable[[], Any]) -> Any:
    """What a host answers within CONNECT_SECONDS, the name look-up included, which a socket's time-out leaves out.

    Raises what `ask` raises, and TimeoutError.
    """
    answer: queue.Queue[Any] = queue.Queue()

    def connect() -> None:
        try:
            answer.put(ask())
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
    digits = promised(file.name)
    if not sha256.startswith(digits):
        raise ValueError(f"{file.name} should have a SHA-256 that begins with {digits}; it begins with {sha256[:8]}")


def promised(file: str) -> str:
    """The digits of its SHA-256 that a published file's name ends in."""
    return re.split("[-_]", Path(file).stem)[-1]


def file_digest(path: Path, world: World) -> str:
    """The SHA-256 of a user's weights file. Raises ConfigError when it cannot be read."""
    try:
        return world.digest(path)
    except OSError as e:
        beside = listed(sorted(f.name for f in path.parent.glob(f"*{path.suffix}"))) if path.parent.is_dir() else ""
        raise ConfigError(
            f"weights={path} cannot be read: {e.strerror}",
            allowed=f"a .pth, .pt or .safetensors file, a folder or index of shards, or one of {listed(SOURCES)}"
            + (f"; {path.parent} holds {beside}" if beside else ""),
            command="model.weights=/path/to/weights.pth",
        ) from e


def content(path: Path) -> str:
    """The SHA-256 of a file as it is now."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def unpinnable(weights: str, sha256: str | None, instead: str) -> Iterator[Problem]:
    """That random weights are pinned; instead of them, something else may be."""
    if weights == "random" and sha256 is not None:
        yield Problem("sha256 is pinned, but weights is random", command=f"model.sha256=null, or weights={instead}")


def expect(path: Path, sha256: str, found: str | None = None, setting: str = "weights") -> None:
    """Holds a file to the digest that its key was made with. Raises StageError, and OSError when it is gone.

    Args:
        path: The file.
        sha256: What it was.
        found: What it is; None to hash the file now.
        setting: What says the path, for the message.
    """
    found = found or content(path)
    if found != sha256:
        raise StageError(
            f"{setting}={path.name} changed since the plan was made: its SHA-256 was {sha256} and is {found}",
            command="run the same command again once the file is complete",
        )


def size(module: torch.nn.Module) -> int:
    """Bytes of a module's weights and buffers; of what is tied to another once."""
    held = {(t.data_ptr(), t.numel()): t for t in module.state_dict().values()}
    return sum(t.numel() * t.element_size() for t in held.values())


def enliven(module: torch.nn.Module, seed: int, only: Collection[str] | None = None) -> None:
    """Makes random weights answer different things to different inputs, or checks would prove nothing.

    Every weight matrix that a factory left at zero, such as the head of torchvision's ViT, is drawn from N(0, 0.02):
    a model whose last matrix is zero answers zero to everything. And a batch norm that has seen no data divides by the
    standard deviation that its convolution's weights lead to, instead of by one: of what inception_v3 is shown, one
    part in ten million reaches its answer otherwise.

    Args:
        module: With weights as its factory left them.
        seed: For the draw.
        only: The names of the parameters and buffers that are random; None for all.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            zero = parameter.dim() >= 2 and parameter.is_floating_point() and not parameter.any()
            if zero and (only is None or name in only):
                parameter.normal_(0.0, 0.02, generator=generator)
        if only is None:
            _scale_norms(module)


def _scale_norms(module: torch.nn.Module) -> None:
    """Takes each layer's inputs for uncorrelated and of variance one, which the norms before it see to."""
    import torch

    before = None
    for part in module.modules():
        if isinstance(part, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)):
            before = part.weight
        elif isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            mean, var = part.running_mean, part.running_var
            fresh = mean is not None and var is not None and not mean.any() and torch.equal(var, torch.ones_like(var))
            if fresh and before is not None and len(before) == part.num_features:
                part.running_var = before.square().flatten(1).sum(1).clamp_min(1e-6)
            before = None
