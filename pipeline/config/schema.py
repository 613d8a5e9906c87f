"""The types of the configuration: the root, the model's facts, and one schema for each stage's settings.

Hydra checks every override and every YAML against these while it composes, so an unknown key or a wrong type is
refused before anything runs. A stage's schema is its own dataclass; see `stage_schema`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, get_type_hints

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import MISSING, OmegaConf

from pipeline import formats
from pipeline.config.instantiate import find_stage
from pipeline.config.wiring import GROUP
from pipeline.stage import Stage

# The key for a user's own variables, for ${…}: nothing of ours reads them.
VARIABLES = "vars"


@dataclass
class Samples:
    """The source of samples; docs/precision.md explains each key."""

    source: Optional[str] = None
    path: Optional[str] = None
    tokenizer: Optional[str] = None
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Generation:
    """What a language model generates in a check: `tokens` tokens after each prompt; `prompts` are lengths in tokens.

    `length` is the size of a cache that does not grow, in tokens.
    """

    prompts: list[int] = field(default_factory=lambda: [1, 7, 40])
    tokens: int = 32
    length: Optional[int] = None


@dataclass
class Check:
    """Inputs for the checks of a model besides the drawn ones; docs/check.md explains it."""

    samples: Any = None


@dataclass
class Model:
    """Facts about a model; conf/model/ explains each key."""

    name: str = MISSING
    factory: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    weights: str = MISSING
    path: Optional[str] = None
    handle: Optional[str] = None
    names: dict[str, str] = field(default_factory=dict)
    sha256: Optional[str] = None
    pretrained: Optional[str] = None
    checkpoint_key: Optional[str] = None
    prefixes: list[str] = field(default_factory=lambda: ["module.", "_orig_mod."])
    strict: bool = True
    part: Optional[str] = None
    # Any: with an optional mapping, Hydra cannot replace null on a command line. The stages have the types.
    inputs: Any = MISSING
    dims: dict[str, Any] = field(default_factory=dict)
    outputs: Optional[list[Any]] = None
    call: Any = None
    preprocessing: Any = None
    calibration: Samples = field(default_factory=Samples)
    evaluation: Samples = field(default_factory=Samples)
    check: Check = field(default_factory=Check)
    generation: Generation = field(default_factory=Generation)
    quantization: Optional[str] = None
    license: Optional[str] = None
    labels: Any = None


@dataclass
class Precision:
    """The types that an artifact stores and computes with, and the least share of each, in 0..1."""

    name: str = MISSING
    storage: str = MISSING
    compute: str = MISSING
    weights: dict[str, float] = field(default_factory=dict)
    operations: dict[str, float] = field(default_factory=dict)


@dataclass
class Batch:
    """The smallest, the usual and the largest size of a batch, where a model does not say its own."""

    min: int = 1
    opt: int = 2
    max: int = 8


@dataclass
class Target:
    """The format, the type it computes in, operations that its runtime lacks, and limits for reduced weights.

    A format adds fields of its own, with the dataclass `Target` of its part `target`; see pipeline/formats.py.
    """

    name: str = MISSING
    compute: str = "${precision.compute}"
    extensions: list[str] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)  # types of operations that no target of this kind has in float16
    symmetric: bool = False  # whether its runtime knows 8-bit numbers by a scale alone
    batch: Batch = field(default_factory=Batch)  # the sizes of a batch that checks use
    pruned: bool = False
    lowered: dict[str, Any] = field(default_factory=dict)  # how far outputs may deviate once weights have fewer bits


@dataclass
class Running:
    """Whether stages with native code run in a process of their own, and their limits; see conf/config.yaml."""

    isolate: bool = True
    memory: Optional[str] = None
    timeout: Optional[float] = None


@dataclass
class Root:
    """The top of the configuration; conf/config.yaml explains each key."""

    model: Model = field(default_factory=Model)
    precision: Precision = field(default_factory=Precision)
    target: Target = field(default_factory=Target)
    stages: dict[str, Any] = field(default_factory=dict)
    opset: Optional[int] = MISSING
    seed: int = MISSING
    effort: str = MISSING
    instead: dict[str, list[str]] = field(default_factory=dict)  # see pipeline/planning/ways.py
    blame: bool = False
    plan: bool = False
    require_clean: bool = False
    runner: Running = field(default_factory=Running)
    select: Optional[str] = None
    vars: dict[str, Any] = field(default_factory=dict)  # VARIABLES
    store: Any = None  # a folder, or a list of them: no schema type has both; composed.store_folders checks it
    keep: Optional[str] = None
    remote: Any = None  # a URL, or a mapping of `url` and `write`; see pipeline/config/remotes.py
    trust: list[str] = field(default_factory=list)
    output: str = MISSING
    # By group and option: by another group or key, the values that go with it; see pipeline/config/choices.py.
    goes_with: dict[str, dict[str, dict[str, list[Any]]]] = field(default_factory=dict)


# The top-level keys.
ROOT = [f.name for f in dataclasses.fields(Root)]


def register(*conf_dirs: Path) -> None:
    """Puts the root's schema and every stage's into Hydra's ConfigStore.

    conf/stage/x.yaml gets the schema of its `_target_` by naming `/wiring/schema/x@_here_` first among its defaults.
    """
    store = ConfigStore.instance()
    store.store(name="root_schema", node=_root())
    schemas = _Schemas({f"{n}.yaml": target for conf in conf_dirs for n, target in stage_targets(conf)})
    store.repo[GROUP] = {"schema": schemas}


def _root() -> type:
    """The root's schema, whose target has the fields of every format."""
    target = dataclasses.make_dataclass("Target", [], bases=(*(p.Target for p in formats.parts("target")), Target))
    return dataclasses.make_dataclass("Root", [("target", target, field(default_factory=target))], bases=(Root,))


class _Schemas(dict[str, Any]):
    """The stages' schemas, each built from a `_target_` when a composition needs it.

    A graph has few of them, and importing a stage takes milliseconds of every start.
    """

    def __getitem__(self, name: str) -> ConfigNode:
        target = super().__getitem__(name)
        node = OmegaConf.structured(stage_schema(find_stage(target), target))
        return ConfigNode(name=name, node=node, group=f"{GROUP}/schema", package=None, provider=None)


def stage_targets(conf: Path) -> Iterator[tuple[str, str]]:
    """The name and `_target_` of each stage YAML in a configuration folder."""
    for path in sorted(conf.glob("stage/*.yaml")):
        if match := re.search(r"^_target_: *(\S+)", path.read_text(), re.MULTILINE):
            yield path.stem, match[1]


def stage_schema(stage: type[Stage], target: str) -> type:
    """A schema with a stage's fields and their types, and `_target_` and `needs`.

    The stage itself cannot be the schema: it is frozen, and OmegaConf would refuse every override.
    """
    fields = [(f.name, hints[f.name], f) for hints in [get_type_hints(stage)] for f in dataclasses.fields(stage)]
    extra = [("_target_", str, dataclasses.field(default=target)), ("needs", Any, dataclasses.field(default=None))]
    return dataclasses.make_dataclass(stage.__name__, [*fields, *extra])
