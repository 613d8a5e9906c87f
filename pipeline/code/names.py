"""From a stage's name to the module that has its class. A name is not a path: files may move."""

from __future__ import annotations

from pipeline.code import index
from pipeline.code.reading import PACKAGE

__all__ = ["PACKAGE", "all_shipped", "class_of", "homes", "is_ours", "shipped"]


def is_ours(module: str) -> bool:
    """Whether a dotted name is one of the package that ships our stages."""
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


def class_of(name: str) -> str:
    """The name of a stage's class: `CompileOpenvino` for compile_openvino."""
    return name.title().replace("_", "")


def shipped(name: str) -> bool:
    """Whether a stage of ours may have this name."""
    return name in all_shipped()


def homes(name: str) -> list[str]:
    """The modules that have a class of a stage's name: one, unless a class that is no stage has the same name."""
    return index.here().homes(class_of(name))


def all_shipped() -> list[str]:
    """The names that a stage of ours may have: of the files that have the class of their own name."""
    modules = ((m.rpartition(".")[2], source) for m, source in index.here().sources.items())
    return sorted(name for name, source in modules if class_of(name) in source.classes)
