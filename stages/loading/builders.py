"""Arguments for torchvision's and timm's builders besides the user's kwargs, so that they fetch nothing themselves."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError, Problem, listed, nearest
from stages.loading.checkpoint import Mismatch

# Arguments that make a builder download or read weights on its own, without a hash and without our checks.
FETCHING = {
    "torchvision": ("weights", "weights_backbone", "pretrained", "pretrained_backbone"),
    "timm": ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"),
}


def called(factory: str, kwargs: Mapping[str, Any]) -> str:
    """The model's name in its library: the builder's name argument, or else the name of the builder."""
    return str(kwargs.get("name") or kwargs.get("model_name") or factory.rpartition(".")[2])


def problems(factory: str, kwargs: Mapping[str, Any], place: str = "kwargs") -> Iterator[Problem]:
    """Kwargs that would make the builder fetch something by itself."""
    library = factory.partition(".")[0]
    for name in filter(kwargs.get, FETCHING.get(library, ())):
        wrong = f"{place}.{name} is {kwargs[name]}: {library} would read weights by itself, past every check"
        command = "model.weights=auto, pretrained, random or a file"
        yield Problem(wrong, "model.weights says where weights come from", command)
    if library == "timm" and ":" in (name := called(factory, kwargs)):
        wrong = f"{place}.model_name is {name}: timm would read the model's definition from elsewhere"
        command = "model.name=resnet18, with model.weights for a file of weights"
        yield Problem(wrong, "a name that timm itself knows", command)


def plain(factory: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments to add for a model without published weights. Raises ConfigError for a name that timm does not know."""
    if factory.startswith("timm."):
        import timm

        name = called(factory, kwargs)
        if factory.endswith(".create_model") and not timm.is_model(name):
            raise ConfigError(
                f"kwargs.model_name is {name}, which timm does not know{nearest(name, timm.list_models())}"
            )
        return {}
    if not factory.startswith("torchvision."):
        return {}
    from torchvision import models

    try:
        accepted = inspect.signature(models.get_model_builder(called(factory, kwargs))).parameters
    except ValueError as e:  # no registered builder: the factory itself will say what is wrong, if anything is
        name = called(factory, kwargs)
        if factory.endswith(".get_model"):
            raise ConfigError(
                f"kwargs.name is {name}, which torchvision does not know{nearest(name, models.list_models())}",
                command=f"model.name={next(iter(difflib.get_close_matches(name, models.list_models(), 1, 0)))}",
            ) from e
        return {}
    # Detection and segmentation models download their backbone's otherwise.
    return {"weights_backbone": None} if "weights_backbone" in accepted else {}


@contextlib.contextmanager
def published(factory: str, state: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Arguments with which the library loads its published weights from tensors that are already read.

    The libraries do more than load: torchvision normalises GoogLeNet's inputs, timm converts keys and pads heads.
    """
    if factory.startswith("timm."):
        yield {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(state)}}
        return
    from torchvision.models import WeightsEnum

    own = WeightsEnum.get_state_dict
    # torchvision has no other way to pass tensors that are already read; its own would unpickle any file.
    WeightsEnum.get_state_dict = lambda self, *args, **kwargs: dict(state)
    try:
        yield {"weights": "DEFAULT"}
    finally:
        WeightsEnum.get_state_dict = own


def left_out(module: Any) -> Mismatch:
    """The weights that timm leaves random when it adapts published ones: the head, for another number of classes."""
    published = getattr(module, "pretrained_cfg", {})
    published.pop("state_dict", None)  # as large as the model
    classes = getattr(module, "num_classes", None)
    if not classes or classes == published.get("num_classes"):
        return Mismatch()
    heads = published.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    names = tuple(n for n in module.state_dict() if n.startswith(tuple(f"{h}." for h in heads)))
    return Mismatch(
        f"{classes} classes asked for, {published.get('num_classes')} published: {listed(names)} random", names
    )
