"""Files of the Hugging Face hub: from the local cache, or downloaded into it."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.stage import World
from stages.loading import shards as weight_shards
from stages.loading import weights
from stages.portable.vendor_errors import first_line

log = logging.getLogger(__name__)

# The names under which timm and transformers publish weights, the one that cannot run code first.
WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{weight_shards.INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{weight_shards.INDEX}",
)
NAME = r"[\w.-]+/[\w.-]+"
# Further files of a transformers folder: how pictures are prepared, and how tokens become a vector.
PICTURES, MODULES = "preprocessor_config.json", "modules.json"
OF_MODULE = ("config.json", "model.safetensors", "pytorch_model.bin")

Get = Callable[[str], Path | None]


def obtain(repo: str, revision: str | None, world: World, *, config: bool, again: bool) -> Path:
    """The file with a repository's weights, or their index, in the cache's folder for one commit.

    A file in the cache is not downloaded again, even when its branch has moved on.

    Args:
        repo: As in org/name.
        revision: A branch, tag or commit; None for main.
        world: Says whether a download is allowed, and remembers for a while that the hub cannot be reached.
        config: Whether config.json must be beside it.
        again: Whether to try even if the hub was unreachable a moment ago.

    Raises:
        LookupError: When it is not available, with the reason.
        ConfigError: When an index is damaged or a file differs from what the hub published.
    """
    weights_path = _gathered(_from_cache(repo, revision), config)
    if weights_path is None:
        if not world.may_fetch:
            raise LookupError("a plan downloads nothing")
        weights_path = _downloaded(repo, revision, world, config=config, again=again)
    for path in weight_shards.files(weights_path):
        _refuse_unless_published(path, world)
    return weights_path


def obtain_beside(repo: str, folder: Path, names: Sequence[str], world: World) -> None:
    """Brings further files of a repository into the cache, from the same commit as its weights.

    Args:
        repo: As in org/name.
        folder: The cache's folder of that commit.
        names: Names of the files; missing ones are skipped.
        world: Says whether a download is allowed.

    Raises LookupError where the hub does not answer.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    # None means unknown; for a file that is known not to exist, the library returns another object.
    unknown = [n for n in names if try_to_load_from_cache(repo, n, revision=folder.name) is None]
    for name in unknown if world.may_fetch else ():
        try:
            hf_hub_download(repo, name, revision=folder.name)
        except EntryNotFoundError as e:
            if isinstance(e, LocalEntryNotFoundError):
                raise LookupError(f"{name}: {first_line(e)}") from e
        except Exception as e:  # the client's transport raises its own kinds
            raise LookupError(f"{name}: {first_line(e)}") from e


def commit_of(path: Path) -> str:
    """The commit of a file in the cache."""
    return path.parent.name


def origin(path: Path) -> str:
    """The repository and commit, as in org/name@0123abcd, of a file in the hub's cache; empty for any other."""
    if not is_cached(path):
        return ""
    return f"{path.parents[2].name.removeprefix('models--').replace('--', '/', 1)}@{commit_of(path)[:8]}"


def is_cached(path: Path) -> bool:
    """Whether a file is in the hub's cache, wherever that is."""
    return path.parent.parent.name == "snapshots" and path.parent.parent.parent.name.startswith("models--")


def timm_repo(name: str, world: World) -> str | None:
    """The repository with the published weights of a timm model; None when there is none.

    timm is imported once for each of its versions: the answer for a name is remembered.

    Args:
        name: The model's name, such as resnet18 or resnet18.a1_in1k.
        world: Remembers.
    """
    fact = f"timm {dict(world.code('timm.create_model'))} publishes {name}"
    if (repo := world.recall(fact, math.inf)) is None:
        import timm

        try:
            repo = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None) or ""
        except RuntimeError:  # no such model or tag, which the factory says better
            return None
        world.remember(fact, repo)
    return repo or None


def _gathered(get: Get, config: bool) -> Path | None:
    """The weights or their index, if everything that belongs to them is available."""
    if config and get("config.json") is None:
        return None
    first = next((p for p in map(get, WEIGHTS) if p is not None), None)
    if config and first is not None:
        _get_besides(get)
    if first is None or not first.name.endswith(weight_shards.INDEX):
        return first
    shards = sorted(set(weight_shards.weight_map(first).values()))
    return first if all(get(s) is not None for s in shards) else None


def _get_besides(get: Get) -> None:
    """Gets the optional files of a transformers folder, if they exist."""
    get(PICTURES)
    if (modules := get(MODULES)) is None:
        return
    with contextlib.suppress(ValueError, AttributeError, TypeError):  # the file's reader reports damage
        places = [str(part.get("path", "")) for part in json.loads(modules.read_text())]
        for place in (p for p in places if re.fullmatch(r"\w[\w.-]*", p)):
            for name in OF_MODULE:
                get(f"{place}/{name}")


def _from_cache(repo: str, revision: str | None) -> Get:
    from huggingface_hub import try_to_load_from_cache

    def get(name: str) -> Path | None:
        path = try_to_load_from_cache(repo, name, revision=revision)
        return Path(path) if isinstance(path, str) else None

    return get


def _downloaded(repo: str, revision: str | None, world: World, *, config: bool, again: bool) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    fact = f"cannot reach {constants.ENDPOINT}"
    if not again and (why := world.recall(fact, weights.OFFLINE_SECONDS)) is not None:
        raise LookupError(why)
    try:
        _reach(constants.ENDPOINT)
    except Exception as e:  # the client's transport raises its own kinds
        why = f"{constants.ENDPOINT} cannot be reached: {e}"
        world.remember(fact, why)
        log.info(why)
        raise LookupError(why) from e
    commit = revision

    def get(name: str) -> Path | None:
        nonlocal commit
        try:
            path = Path(hf_hub_download(repo, name, revision=commit))
        except EntryNotFoundError as e:
            if isinstance(e, LocalEntryNotFoundError):  # a broken connection says nothing about the file
                raise
            return None
        if "/" not in name:
            commit = commit_of(path)  # the rest comes from the same commit, even if the branch moves on meanwhile
        return path

    try:
        path = _gathered(get, config)
    except ConfigError:
        raise
    except Exception as e:  # as above; and a repository that is gated, private or not there
        raise LookupError(f"{repo}: {first_line(e)}") from e
    if path is None:
        raise LookupError(f"{repo} publishes no {'config.json with ' if config else ''}{' or '.join(WEIGHTS)}")
    return path


def _reach(endpoint: str) -> Any:
    """Tries one request first: the hub's client would try five times, for twenty seconds and more."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    return weights.answer_of(lambda: get_session().head(endpoint, timeout=weights.CONNECT_SECONDS))


def _refuse_unless_published(path: Path, world: World) -> None:
    """Compares a file's SHA-256 with its name in the cache, if that is one. Raises ConfigError."""
    promised = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", promised) and (actual := weights.file_digest(path, world)) != promised:
        raise ConfigError(
            f"{path} is damaged: its SHA-256 should be {promised} and is {actual}", command=f"rm {path.resolve()}"
        )
