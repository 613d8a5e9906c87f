"""From a job that Hydra runs to a draft for the cache of compositions; see pipeline/config/cache/compositions.py."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core import utils
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pipeline.config.cache.compositions import Draft
from pipeline.config.compose import folders
from pipeline.config.composed import Composed, graph_of

# Resolvers without side effects. Beside them only `now`, in the name of the run folder, and `oc.env` may occur.
PURE = (
    "hydra", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select", "oc.create", "python_version",
    "pick", "below", "as_checked", "picture_shape", "picture_preprocessing",
)  # fmt: skip
RESOLVER = re.compile(r"\$\{\s*([\w.]+)\s*:\s*([^,}]*)")


def of_job(cfg: DictConfig, composed: Composed) -> Draft | None:
    """The draft of the job that Hydra is running; None if it depends on the time or needs more of Hydra.

    Args:
        cfg: The job's configuration.
        composed: The same configuration as plain values.

    Raises OSError, OmegaConfBaseException.
    """
    its = HydraConfig.get()
    sources = [source for source in its.runtime.config_sources if source.provider not in ("hydra", "schema")]
    if its.callbacks or its.job.chdir or its.job.env_set or its.verbose or its.output_subdir is None:
        return None
    if any(source.schema not in ("file", "structured") for source in sources):
        return None
    searched = [Path(source.path) for source in sources if source.schema == "file"]
    names = set(_variables(searched))
    for resolver, argument in _resolvers(cfg, its):
        if resolver == "oc.env":
            names.add(argument)
        elif resolver not in PURE:
            return None
    if any("$" in name for name in names):
        return None  # the name of the variable depends on another value
    nodes = {node.name: node for node in graph_of(composed.config)}
    folder = Path(its.runtime.output_dir)
    written = {f"{its.output_subdir}/{name}.yaml" for name in ("config", "hydra", "overrides")}
    logging = OmegaConf.to_container(its.job_logging, resolve=True)
    assert isinstance(logging, dict)
    return Draft(
        composed=composed,
        stages={name: nodes[name].stage for name in composed.config["stages"]},
        folder=folder,
        template=_template(its),
        files={name: (folder / name).read_text("utf-8") for name in sorted(written)},
        logging={str(key): value for key, value in logging.items()},
        searched=[*searched, *folders(), Path("conf").absolute()],
        environment=sorted(names),
    )


def _resolvers(cfg: DictConfig, its: Any) -> Iterator[tuple[str, str]]:
    """The resolvers in the configuration with their first arguments, except those in the names of run folders."""
    of_hydra = OmegaConf.to_container(its, resolve=False)
    assert isinstance(of_hydra, dict)
    of_hydra |= {"run": None, "sweep": None}
    for text in _texts([OmegaConf.to_container(cfg, resolve=False), of_hydra]):
        for match in RESOLVER.finditer(text):
            yield match[1], match[2].strip()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _variables(folders: Iterable[Path]) -> Iterator[str]:
    """The variables that YAMLs of these folders name: in a defaults list, they are in no configuration."""
    for folder in folders:
        for path in folder.rglob("*.yaml"):
            for match in RESOLVER.finditer(path.read_text("utf-8", errors="replace")):  # perhaps not chosen
                if match[1] == "oc.env":
                    yield match[2].strip()


def _template(its: Any) -> str:
    """What the run's folder is called, with `@now:FORMAT@` for what is of the moment."""
    whole = copy.deepcopy(its._get_root())
    OmegaConf.clear_cache(whole)
    try:
        OmegaConf.register_new_resolver("now", lambda form: f"@now:{form}@", replace=True)
        return str(whole.hydra.run.dir)
    finally:
        utils.setup_globals()
