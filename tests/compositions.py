"""Compositions of the shipped choices for tests: each YAML is read once, and each composition is cached."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import os
import tempfile
from typing import Any
from unittest import mock

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.config import inputs
from pipeline.config.compose import CONF
from pipeline.config.hydra_shortcuts import read_once
from pipeline.config.instantiate import build_stage
from pipeline.planning import graph
from pipeline.planning.graph import Node

# The overrides that models need which are not complete by themselves, besides a name.
NEEDED = {
    "causal_lm": ["model.weights=random", "+model.kwargs.model_type=llama"],
    "custom": ["model.factory=my_package.Net", "model.weights=random"],
    "file": ["model.path=net.tflite"],
    "module_file": ["model.weights=net.pt"],
    "onnx_file": ["model.weights=net.onnx"],
    "transformers": ["model.factory=transformers.AutoModel", "model.weights=random", "+model.kwargs.model_type=bert"],
}


def options(group: str) -> list[str]:
    """The shipped options of a group."""
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


TARGETS, ROUTES, PRECISIONS = map(options, ("target", "route", "precision"))
# A program fills in `live`, see pipeline/api; language models have a graph of their own.
MODELS = [model for model in options("model") if model not in ("live", "causal_lm")]
CAPTURES = [c for c in options("capture") if c != "none"]
OF_TENSORRT = ("tensorrt", "tensorrt_bundle")
# Precisions that reduce the compiled artifact, not the graph before it.
OF_COMPILERS = ("openvino", "openvino_direct", "coreml")
# The wiring of a target has a file for each precision that it supports. In TensorRT, weights have the bits in which
# their operations compute.
LOWERED_BY = {"onnx": "cast", "coreml": "coreml", **dict.fromkeys(OF_TENSORRT, "engine")}
REACHED = [(t, p) for t in TARGETS for p in PRECISIONS if p in options(f"wiring/{LOWERED_BY.get(t, 'ir')}")]
# Choices that reduce the finished artifact, and so hardly depend on the earlier stages.
LOWERED = ("int8", "int8_weights", "int4_weights", "palette4", "palette6", "palette8")
OF_IR = options("wiring/ir")


def model_overrides(model: str) -> list[str]:
    """A model, with the overrides that it needs."""
    nameless = OmegaConf.is_missing(OmegaConf.load(CONF / "model" / f"{model}.yaml"), "name")
    return [f"model={model}", *NEEDED.get(model, []), *(["model.name=one_of_them"] if nameless else [])]


def fitting(target: str, precision: str) -> list[str]:
    """A target and a precision, with the other overrides that this pair needs."""
    four_bits = ["opset=21"] if (target, precision) == ("onnx", "int4_weights") else []
    return [f"target={target}", f"precision={precision}", *four_bits]


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The configuration without Hydra's own part, which nobody may change. Raises what Hydra raises.

    Works like Hydra, with a cache between: choices are composed, then values are set.
    """
    overrides = tuple(inputs.add_mapping(list(overrides)))
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    chosen = [o.key_or_group.startswith("hydra") or loader().repository.group_exists(o.key_or_group) for o in parsed]
    cfg = copy.deepcopy(_chosen(*itertools.compress(overrides, chosen)))
    values = [o for o, choice in zip(parsed, chosen, strict=True) if not choice]
    try:
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    except HydraException as e:
        if not inputs.is_nameless(e):
            raise
        return composed(*inputs.add_names(overrides))
    OmegaConf.set_readonly(cfg, True)
    return cfg


@functools.cache
def _chosen(*choices: str) -> DictConfig:
    cfg = loader().load_configuration("config", list(choices), RunMode.RUN)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


@functools.cache
def nodes(*overrides: str) -> tuple[Node, ...]:
    """The checked graph, as `python -m pipeline` builds it."""
    settings: Any = OmegaConf.to_container(composed(*overrides).stages, resolve=True, throw_on_missing=True)
    stages = {name: build_stage(f"stages.{name}", values) for name, values in settings.items()}
    return tuple(graph.build(stages, {name: settings[name]["needs"] or () for name in stages}))


def stage(name: str, *overrides: str) -> Any:
    """One stage of that graph."""
    return next(n.stage for n in nodes(*overrides) if n.name == name)


def shipped(tolerance: str) -> Any:
    """The values of a shipped tolerance."""
    return OmegaConf.to_container(OmegaConf.load(CONF / "tolerance" / f"{tolerance}.yaml"))


@functools.cache
def loader() -> ConfigLoaderImpl:
    """Hydra's loader of only the shipped YAMLs, which reads each once."""
    environment = {name: value for name, value in os.environ.items() if name != "DRYDOCK_CONF"}
    with (
        tempfile.TemporaryDirectory() as elsewhere,
        contextlib.chdir(elsewhere),  # a ./conf of the user's would be searched too
        mock.patch.dict(os.environ, environment, clear=True),
        hydra.initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        config_loader = GlobalHydra.instance().config_loader()
    assert isinstance(config_loader, ConfigLoaderImpl)
    read_once(config_loader).__enter__()  # for as long as the process lives
    return config_loader
