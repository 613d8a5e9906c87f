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
# What a folder of transformers may hold besides: how pictures are prepared, and how tokens become a vector.
PICTURES, MODULES = "preprocessor_config.json", "modules.json"
OF_MODULE = ("config.json", "model.safetensors", "pytorch_model.bin")

Get = Callable[[str], Path | None]


def obtain(repo: str, revision: str | None, world: World, *, config: bool, again: bool) -> Path:
    """The file with a repository's weights, or their index, in the cache's folder for one commit.

    What is in the cache is not asked for again, even when its branch has moved on.

    Args:
        repo: As in org/name.
        revision: A branch, tag or commit; None for main.
        world: Says whether a download may be tried, and remembers for a while that the hub cannot be reached.
        config: Whether config.json must lie beside it.
        again: Whether to try although the hub was found unreachable a moment ago.

    Raises:
        LookupError: When it cannot be had; says why.
        ConfigError: When an index is damaged or a file is not what the hub published.
    """
    found = _gathered(_from_cache(repo, revision), config)
    if found is None:
        if not world.may_fetch:
            raise LookupError("a plan downloads nothing")
        found = _downloaded(repo, revision, world, config=config, again=again)
    for path in weight_shards.files(found):
        _refuse_unless_published(path, world)
    return found


def obtain_beside(repo: str, folder: Path, names: Sequence[str], world: World) -> None:
    """Has files that a repository may have beside its weights in the cache, too, of the commit that these are of.

    Args:
        repo: As in org/name.
        folder: The cache's, for that commit.
        names: Of the files; what the repository lacks is left out.
        world: Says whether a download may be tried.

    Raises LookupError where the hub does not answer.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    # Where it is known that there is no such file, that is an object of its own.
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
    """The commit whose folder of the cache a file lies in."""
    return path.parent.name


def origin(path: Path) -> str:
    """The repository and commit, as in org/name@0123abcd, of a file in the hub's cache; empty for any other."""
    if not is_cached(path):
        return ""
    return f"{path.parents[2].name.removeprefix('models--').replace('--', '/', 1)}@{commit_of(path)[:8]}"


def is_cached(path: Path) -> bool:
    """Whether a file lies in the hub's cache, wherever that is."""
    return path.parent.parent.name == "snapshots" and path.parent.parent.parent.name.startswith("models--")


def timm_repo(name: str, world: World) -> str | None:
    """The repository with the published weights of a timm model; None when there is none.

    timm is imported once for each of its versions: what it says of a name is remembered.

    Args:
        name: Such as resnet18 or resnet18.a1_in1k.
        world: Remembers.
    """
    fact = f"timm {dict(world.code('timm.create_model'))} publishes {name}"
    if (known := world.recall(fact, math.inf)) is None:
        import timm

        try:
            known = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None) or ""
        except RuntimeError:  # no such model or tag, which the factory says better
            return None
        world.remember(fact, known)
    return known or None


def _gathered(get: Get, config: bool) -> Path | None:
    """The weights or their index, when everything that belongs to them can be had."""
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
    """What belongs to the folder of a transformers model where there is such a file; it may do without."""
    get(PICTURES)
    if (modules := get(MODULES)) is None:
        return
    with contextlib.suppress(ValueError, AttributeError, TypeError):  # of what is damaged, its reader says it
        places = [str(part.get("path", "")) for part in json.loads(modules.read_text())]
        for place in (p for p in places if re.fullmatch(r"\w[\w.-]*", p)):
            for name in OF_MODULE:
                get(f"{place}/{name}")


def _from_cache(repo: str, revision: str | None) -> Get:
    from huggingface_hub import try_to_load_from_cache

    def get(name: str) -> Path | None:
        found = try_to_load_from_cache(repo, name, revision=revision)
        return Path(found) if isinstance(found, str) else None

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
            if isinstance(e, LocalEntryNotFoundError):  # the connection broke, and not: there is no such file
                raise
            return None
        if "/" not in name:
            commit = commit_of(path)  # the rest comes from the same commit, though the branch move on meanwhile
        return path

    try:
        found = _gathered(get, config)
    except ConfigError:
        raise
    except Exception as e:  # as above; and a repository that is gated, private or not there
        raise LookupError(f"{repo}: {first_line(e)}") from e
    if found is None:
        raise LookupError(f"{repo} publishes no {'config.json with ' if config else ''}{' or '.join(WEIGHTS)}")
    return found


def _reach(endpoint: str) -> Any:
    """Asks by itself first: the hub's client would try five times, for twenty seconds and more."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    return weights.answer_of(lambda: get_session().head(endpoint, timeout=weights.CONNECT_SECONDS))


def _refuse_unless_published(path: Path, world: World) -> None:
    """The cache names large files by their SHA-256. Raises ConfigError."""
    promised = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", promised) and (found := weights.file_digest(path, world)) != promised:
        raise ConfigError(
            f"{path} is damaged: its SHA-256 should be {promised} and is {found}", command=f"rm {path.resolve()}"
        )
