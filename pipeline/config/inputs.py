"""The inputs of a model on the command line, and the sizes of their dimensions.

`model.inputs={…}` names all inputs: those of the model's YAML that it does not name are removed. Hydra would merge
both mappings, and the model would keep an input that it does not have.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from pipeline.config import again
from pipeline.errors import ConfigError

KEY = "model.inputs"


def remove_others(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Removes the inputs that the last `model.inputs={…}` does not name.

    Args:
        cfg: A whole configuration, which is changed.
        overrides: The overrides that it was composed with.
    """
    mappings = [o for o in overrides if o.lstrip("+").startswith(f"{KEY}={{")]
    if not mappings or not isinstance(cfg.model.inputs, DictConfig):
        return
    mapping = OverridesParser.create().parse_override(mappings[-1]).value()
    assert isinstance(mapping, dict)
    names = {str(key) for key in mapping}
    with open_dict(cfg.model.inputs):
        for other in [key for key in cfg.model.inputs if str(key) not in names]:
            del cfg.model.inputs[other]


def add_mapping(overrides: Sequence[str]) -> list[str]:
    """The same overrides, with the + that makes Hydra accept new names in `model.inputs={…}`."""
    return [f"+{o}" if o.startswith(f"{KEY}={{") else o for o in overrides]


def is_nameless(error: Exception) -> bool:
    """Whether Hydra refused `model.inputs.NAME.…=…` because the YAML has no inputs, as for a file with its own."""
    cause = error.__cause__
    if not isinstance(cause, ConfigKeyError | ConfigAttributeError) or cause.parent_node:
        return False
    return str(cause.full_key).startswith(f"{KEY}.")


def add_names(overrides: Sequence[str]) -> list[str]:
    """The same overrides, with the + that makes Hydra accept a new name in `model.inputs.NAME.…=…`."""
    return [f"+{o}" if o.startswith(f"{KEY}.") else o for o in overrides]


def refuse_sizes(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raises ConfigError for a dimension that is one number: it must be a range, since checks run at several sizes."""
    dims = OmegaConf.to_container(cfg.model.dims, resolve=False)
    assert isinstance(dims, dict)
    for dim, size in ((str(dim), size) for dim, size in dims.items()):
        if isinstance(size, int):
            place = f"model.dims.{dim}"
            typed = [o for o in overrides if o.lstrip("+") == f"{place}={size}"]
            span = f"{{min: 1, opt: {size}, max: {max(size, 2)}}}" if size > 1 else "{min: 1, opt: 2, max: 2}"
            added = "+" if typed and typed[0].startswith("+") else ""
            raise ConfigError(
                f"{place} is {size}",
                allowed="its smallest, usual and largest size; a fixed size is written in the input's shape",
                command=again.with_change(overrides, {o: [f"{added}{place}={span}"] for o in typed}),
            )
