"""Lists the models that torchvision, timm and transformers have by name, with their input sizes, as lines of JSON.

    python -m stages.loading.catalog timm 'convnext*'

It is a program of its own, so that a caller imports none of these libraries.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Callable, Iterator, Mapping

# A name, its input as text, and what to type on the command line.
Line = tuple[str, str, str]


def torchvision(pattern: str) -> Iterator[Line]:
    """Classifiers of torchvision, with the crop that their published weights take."""
    from torchvision import models

    for name in models.list_models(module=models):
        if fnmatch.fnmatch(name, pattern):
            default = getattr(models.get_model_weights(name), "DEFAULT", None)
            size = default.transforms().crop_size[0] if default is not None else 224
            yield name, f"3x{size}x{size}", f"model=torchvision model.name={name}"


def timm(pattern: str) -> Iterator[Line]:
    """Models of timm, with the input size of their own configuration."""
    import timm as library

    for name in library.list_models(pattern):
        config = library.get_pretrained_cfg(name)
        size = config.input_size if config is not None else (3, 224, 224)
        yield name, "x".join(map(str, size)), f"model=timm model.name={name}"


def transformers(pattern: str) -> Iterator[Line]:
    """Architectures of transformers: a folder or a repository of the hub has one of these, and states its own sizes."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    for name in CONFIG_MAPPING_NAMES:
        if fnmatch.fnmatch(name, pattern):
            settings = "model=transformers model.factory=transformers.AutoModel model.weights=random"
            yield name, "by its config", f"{settings} +model.kwargs.model_type={name}"


LIBRARIES: Mapping[str, Callable[[str], Iterator[Line]]] = {
    "torchvision": torchvision,
    "timm": timm,
    "transformers": transformers,
}

if __name__ == "__main__":
    for line in LIBRARIES[sys.argv[1]](sys.argv[2]):
        print(json.dumps(line))
