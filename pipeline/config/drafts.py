"""What Hydra composed for a job, with all that has it run again without Hydra; see pipeline/config/kept.py."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core import utils
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pipeline.config.compose import folders
from pipeline.config.composed import Composed
from pipeline.config.kept import Draft
from pipeline.stage import Stage

# Resolvers that give the same for the same, but `now`, which names the run's folder, and the variables of `oc.env`.
PURE = (
    "hydra", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select", "oc.create", "python_version",
    "pick", "below", "as_checked", "picture_shape", "picture_preprocessing",
)  # fmt: skip
RESOLVER = re.compile(r"\$\{\s*([\w.]+)\s*:\s*([^,}]*)")


def of_job(cfg: DictConfig, composed: Composed, stages: Mapping[str, Stage]) -> Draft | None:
    """The draft of the job that Hydra is running; None where something of it is of the moment, or Hydra does more.

    Args:
        cfg: The job's configuration.
        composed: Likewise, as plain values.
        stages: Its stages.

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
        return None  # which variable it is depends on another
    folder = Path(its.runtime.output_dir)
    written = {f"{its.output_subdir}/{name}.yaml" for name in ("config", "hydra", "overrides")}
    logging = OmegaConf.to_container(its.job_logging, resolve=True)
    assert isinstance(logging, dict)
    return Draft(
        composed=composed,
        stages=stages,
        folder=folder,
        template=_template(its),
        files={name: (folder / name).read_text("utf-8") for name in sorted(written)},
        logging={str(key): value for key, value in logging.items()},
        searched=[*searched, *folders(), Path("conf").absolute()],
        environment=sorted(names),
    )


def _resolvers(cfg: DictConfig, its: Any) -> Iterator[tuple[str, str]]:
    """Each resolver that the configuration names, with its first argument; those in the name of the folder apart."""
    of_hydra = OmegaConf.to_container(its, resolve=False)
    assert isinstance(of_hydra, dict)
    of_hydra |= {"run": None, "sweep": None}
    for text in _texts([OmegaConf.to_container(cfg, resolve=False), of_hydra]):
        for found in RESOLVER.finditer(text):
            yield found[1], found[2].strip()


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
            for found in RESOLVER.finditer(path.read_text("utf-8")):
                if found[1] == "oc.env":
                    yield found[2].strip()


def _template(its: Any) -> str:
    """What the run's folder is called, with `@now:FORMAT@` for what is of the moment."""
    whole = copy.deepcopy(its._get_root())
    OmegaConf.clear_cache(whole)
    try:
        OmegaConf.register_new_resolver("now", lambda form: f"@now:{form}@", replace=True)
        return str(whole.hydra.run.dir)
    finally:
        utils.setup_globals()
