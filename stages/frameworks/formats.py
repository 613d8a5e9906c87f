"""The files of other frameworks that a compiler reads by itself: how each is recognised, and which library runs it.

SavedModel is a folder; a PaddlePaddle program has its parameters beside it, an ONNX graph may have.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, listed

SOURCE, THEIR_NAMES = "source", "file_names"  # the facts with the format, and with the file's names of its tensors


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        says: Its name for people.
        file: Its file name in an artifact's folder, with the suffix of the user's file, unless that is a folder.
        libraries: The modules that can run it, best first.
    """

    says: str
    file: str
    libraries: tuple[str, ...]


SAVED_MODEL, PADDLE, ONNX = "saved_model", "paddle", "onnx"
FORMATS: Mapping[str, Format] = {
    ONNX: Format("ONNX file", "model.onnx", ("onnxruntime",)),
    "frozen_graph": Format("frozen TensorFlow graph", "model.pb", ("tensorflow",)),
    SAVED_MODEL: Format("TensorFlow SavedModel", "saved_model", ("tensorflow",)),
    "tflite": Format("TensorFlow Lite file", "model.tflite", ("ai_edge_litert", "tensorflow")),
    PADDLE: Format("PaddlePaddle program", "model.pdmodel", ("paddle",)),
}
BY_SUFFIX = {Path(f.file).suffix: name for name, f in FORMATS.items() if name != SAVED_MODEL}
ALLOWED = f"a file that ends in {listed(BY_SUFFIX)}, or a SavedModel's folder"
# The names of packages that differ from their module's.
PACKAGES = {"ai_edge_litert": "ai-edge-litert", "paddle": "paddlepaddle"}
IN_A_SAVED_MODEL = "saved_model.pb"
PARAMETERS = ".pdiparams"


def recognised(path: Path) -> str:
    """The format's name in FORMATS. Raises ConfigError."""
    if path.name == IN_A_SAVED_MODEL:
        raise ConfigError(
            f"path={path} is a part of a SavedModel", allowed=ALLOWED, command=f"model.path={path.parent}"
        )
    if path.is_dir():
        if (path / IN_A_SAVED_MODEL).is_file():
            return SAVED_MODEL
        holds = listed(sorted(f.name for f in path.iterdir())) or "nothing"
        raise ConfigError(f"path={path} is a folder without {IN_A_SAVED_MODEL}; it holds {holds}", allowed=ALLOWED)
    if path.suffix not in BY_SUFFIX:
        program = path.with_suffix(Path(FORMATS[PADDLE].file).suffix)
        other = program if path.suffix == PARAMETERS else "/path/to/net.pb"
        raise ConfigError(
            f"path={path} ends in '{path.suffix}', which is no format that is known",
            allowed=ALLOWED,
            command=f"model.path={other}",
        )
    if not path.is_file():
        raise ConfigError(f"path={path} is no file", allowed=ALLOWED, command="model.path=/path/to/the/file")
    if not path.stat().st_size:
        raise ConfigError(f"path={path} is empty", allowed=ALLOWED, command="copy or download it again")
    return BY_SUFFIX[path.suffix]


def files(path: Path, weights_of: Callable[[Path], Sequence[str]]) -> list[Path]:
    """Every file that belongs to a model.

    Args:
        path: The path in the user's setting.
        weights_of: Returns the names of an ONNX graph's files with weights, each beside the graph.

    Raises:
        ConfigError: When one is missing, or is a link: the files read must be the files hashed.
    """
    kind = recognised(path)
    if kind == SAVED_MODEL:
        parts = sorted(p for p in path.rglob("*") if p.is_symlink() or not p.is_dir())
    elif kind == PADDLE:
        parts = [path, path.with_suffix(PARAMETERS)]
    else:
        return [path, *(path.parent / n for n in weights_of(path))] if kind == ONNX else [path]
    beside = [f for f in parts if f != path]
    if links := [f.relative_to(path.parent).as_posix() for f in beside if f.is_symlink()]:
        raise ConfigError(f"path={path}: {listed(links)} is a link, which may lead anywhere", allowed="plain files")
    if missing := [f.relative_to(path.parent).as_posix() for f in beside if not f.is_file()]:
        raise ConfigError(
            f"path={path}: {listed(missing)} belongs to it and is no file", command=f"put it into {path.parent}"
        )
    return parts


def copies(path: Path, parts: Sequence[Path]) -> dict[str, Path]:
    """The name of each of a model's files in an artifact's folder; it does not depend on the user's names."""
    kind = recognised(path)
    if kind == SAVED_MODEL:
        return {f"{FORMATS[kind].file}/{f.relative_to(path).as_posix()}": f for f in parts}
    stem = Path(FORMATS[kind].file).stem
    # An ONNX graph names its weights' files inside.
    return {f.name if kind == ONNX and f != path else stem + f.suffix: f for f in parts}


def format_of(artifact: Artifact) -> Format:
    """The format of a file artifact, or of one that was made from such a file, from its facts."""
    return FORMATS[artifact.facts[SOURCE]["format"]]


def file_of(artifact: Artifact) -> Path:
    """The path to open in a file artifact's folder."""
    assert artifact.folder is not None
    return artifact.folder / format_of(artifact).file


def their_names(artifact: Artifact) -> Mapping[str, str]:
    """The file's own name of each input and output, by our name."""
    names: Mapping[str, str] = artifact.facts[THEIR_NAMES]
    return names


def installed() -> tuple[str, ...]:
    """The installed libraries that run one of the formats."""
    every = {name for f in FORMATS.values() for name in f.libraries}
    return tuple(sorted(name for name in every if _is_installed(name)))


def library(artifact: Artifact) -> str | None:
    """The best installed library that runs an artifact's file; None where there is none."""
    return next((name for name in format_of(artifact).libraries if _is_installed(name)), None)


def lacking(artifact: Artifact) -> str:
    """A sentence that no installed library runs an artifact's file, and how to get one."""
    libraries = format_of(artifact).libraries
    return f"{' or '.join(libraries)} would run it, and is not installed (pip install {_package(libraries[0])})"


def _package(module: str) -> str:
    return PACKAGES.get(module, module)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
