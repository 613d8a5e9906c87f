"""The sources of samples, one class for each kind that stages/data/spec.py names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, StageError, listed
from pipeline.stage import World, digest_of
from stages.data.datasets import Dataset
from stages.data.rows import LABELS, Row, Rows, Source, fitting
from stages.data.spec import RANDOM, existing, spelled
from stages.interface import fills, images
from stages.interface import interface as model_interface
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface, range_of
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
# Files of a tokenizer's folder that are a model's weights.
WEIGHTS = (".safetensors", ".bin", ".pt", ".h5", ".msgpack", ".onnx")
# The number of random samples: more would not show more.
DRAWN = 32


def paths(value: Any) -> Iterator[str]:
    """The arguments that are paths of existing files or folders."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from paths(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from paths(part)
    elif isinstance(value, str) and existing(value) is not None:
        yield value


def build(spec: Any, preprocessing: Preprocessing | None) -> Source:
    """The source that a valid mapping or text describes; photographs get the preprocessing."""
    spec = spelled(spec)
    kind, path = spec["source"], Path(spec.get("path") or "").expanduser()
    if kind == "images":
        return Images(path, preprocessing)
    if kind == "arrays":
        return Arrays(path)
    if kind == "text":
        return Text(path, Path(spec["tokenizer"]).expanduser())
    return Random() if kind == RANDOM else Dataset(spec["path"], dict(spec.get("kwargs") or {}))


@dataclass(frozen=True)
class Random:
    """Draws by the fills of the model's inputs; uniform numbers if the fill is a file or a function."""

    def identity(self, world: World) -> Mapping[str, Any]:
        return {RANDOM: True}

    def open(self, interface: Interface, seed: int) -> Rows:
        return _RandomRows(interface, seed)


@dataclass(frozen=True)
class _RandomRows(Rows):
    interface: Interface
    seed: int

    def __len__(self) -> int:
        return DRAWN

    def __getitem__(self, number: int) -> Row:
        sizes = {name: dim.opt for name, dim in self.interface.dims.items()}
        one = {n: model_interface.Input([2, *s.shape[1:]], s.dtype, s.fill) for n, s in self.interface.inputs.items()}
        # Apart from the reference's draws, which have the seed itself.
        drawn = fills.draw(one, sizes, 1_000_003 * (self.seed + 1) + number)
        return Row({n: v[1] for n, v in drawn.items()}, None)  # of a mask, the first has no zeros


@dataclass(frozen=True)
class Images:
    """Photographs in a folder, or in a folder for each class.

    A class's number is its folder's name where all of these are integers, otherwise its place among the sorted names,
    as in torchvision.datasets.ImageFolder. Files are identified by their content, not by their names.
    """

    folder: Path
    how: Preprocessing | None

    def identity(self, world: World) -> Mapping[str, Any]:
        digests = sorted([label, digest_of(path, world, str(path))] for path, label in self._files())
        sha256 = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
        return {"images": sha256, "count": len(digests), "preprocessing": self.how and vars(self.how)}

    def open(self, interface: Interface, seed: int) -> Rows:
        assert self.how is not None
        pictured = [n for n, s in interface.inputs.items() if len(s.shape) == 4]
        if len(interface.inputs) != 1 or not pictured:
            raise ConfigError(
                f"images are for one input of four dimensions, and this model takes {listed(interface.inputs)}",
                allowed="source: arrays or dataset for others",
            )
        files = [(hashlib.sha256(path.read_bytes()).hexdigest(), label, path) for path, label in self._files()]
        return _ImageRows([(path, label) for _, label, path in sorted(files)], self.how, interface, pictured[0])

    def _files(self) -> list[tuple[Path, int | None]]:
        if not self.folder.is_dir():
            raise ConfigError(f"images: there is no folder {self.folder}", command="the path of an existing folder")
        classes = sorted(p for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        loose = _photographs(self.folder)
        if loose and classes:
            raise ConfigError(
                f"images: {self.folder} has {len(loose)} photographs beside its folders "
                + listed(p.name for p in classes),
                allowed="photographs alone, which have no labels, or a folder for each class and nothing beside them",
                command=f"move {loose[0].name} into the folder of its class",
            )
        if empty := [p.name for p in classes if not _photographs(p)]:
            raise ConfigError(
                f"images: {self.folder} has no photograph of class {listed(empty)}",
                allowed=f"files that end in {listed(PHOTOGRAPHS)}, right in the folder of each class",
            )
        if deeper := [d for p in classes for d in sorted(p.iterdir()) if d.is_dir() and not d.name.startswith(".")]:
            raise ConfigError(
                f"images: {self.folder} has {len(deeper)} folders in those of its classes, such as {deeper[0].name}",
                allowed="photographs right in the folder of each class",
            )
        numbered = len({int(p.name) for p in classes if p.name.isdecimal()}) == len(classes)
        files: list[tuple[Path, int | None]] = [(path, None) for path in loose]
        for place, folder in enumerate(classes):
            files += [(path, int(folder.name) if numbered else place) for path in _photographs(folder)]
        if not files:
            raise ConfigError(
                f"images: {self.folder} has no photographs", allowed=f"files that end in {listed(PHOTOGRAPHS)}"
            )
        return files


def _photographs(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTOGRAPHS and p.is_file())


@dataclass(frozen=True)
class _ImageRows(Rows):
    files: Sequence[tuple[Path, int | None]]
    how: Preprocessing
    interface: Interface
    name: str

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Row:
        path, label = self.files[number]
        shape = self.interface.inputs[self.name].at({n: d.opt for n, d in self.interface.dims.items()})
        pixels = images.prepared(images.from_file(path), *self.how.size(shape), self.how)
        return fitting(Row({self.name: pixels}, label), self.interface, str(path))


@dataclass(frozen=True)
class Arrays:
    """A .npz file with an array of [samples, …] for each input, and perhaps labels."""

    path: Path

    def identity(self, world: World) -> Mapping[str, Any]:
        return {"arrays": digest_of(self.path, world, str(self.path))}

    def open(self, interface: Interface, seed: int) -> Rows:
        import numpy as np

        try:
            with np.load(self.path, allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files}
        except Exception as e:  # numpy raises anything on a damaged file
            raise StageError(f"arrays: {self.path.name} cannot be read: {first_line(e)}") from e
        if missing := [n for n in interface.inputs if n not in arrays]:
            raise StageError(
                f"arrays: {self.path.name} holds {listed(arrays)}, and no {listed(missing)}",
                allowed=listed(interface.inputs),
                command=f"save it as {missing[0]}=…",
            )
        names = [*interface.inputs, *([LABELS] if LABELS in arrays else [])]
        if single := [n for n in names if not arrays[n].ndim]:
            raise StageError(f"arrays: {self.path.name} holds one number as {listed(single)}", allowed="[samples, …]")
        counts = {n: len(arrays[n]) for n in names}
        if len(set(counts.values())) != 1:
            raise StageError(
                f"arrays: {self.path.name} holds {listed(f'{c} {n}' for n, c in counts.items())}",
                allowed="as many of each, a row for each sample",
            )
        return _ArrayRows(arrays, interface, self.path.name)


@dataclass(frozen=True)
class _ArrayRows(Rows):
    arrays: Mapping[str, Array]
    interface: Interface
    origin: str

    def __len__(self) -> int:
        return len(self.arrays[next(iter(self.interface.inputs))])

    def __getitem__(self, number: int) -> Row:
        label = self.arrays[LABELS][number] if LABELS in self.arrays else None
        return fitting(
            Row({n: self.arrays[n][number] for n in self.interface.inputs}, label), self.interface, self.origin
        )


@dataclass(frozen=True)
class Text:
    """Lines of a text file through a transformers tokenizer, each padded to the longest length that the model takes.

    The length does not depend on the file, so a line is the same sample in every file.
    """

    path: Path
    tokenizer: Path

    def identity(self, world: World) -> Mapping[str, Any]:
        if not self.tokenizer.is_dir():
            raise ConfigError(
                f"tokenizer: there is no folder {self.tokenizer}", command="a folder as save_pretrained writes it"
            )
        files = sorted(p for p in self.tokenizer.iterdir() if p.is_file() and p.suffix not in WEIGHTS)
        rest = {"labelled": self._labelled, "tokenizer": {p.name: digest_of(p, world, str(p)) for p in files}}
        return {"text": digest_of(self.path, world, str(self.path)), **rest}

    @property
    def _labelled(self) -> bool:
        return self.path.suffix == ".tsv"

    def open(self, interface: Interface, seed: int) -> Rows:
        from transformers import AutoTokenizer

        if other := [f"{n} {s.shape}" for n, s in interface.inputs.items() if len(s.shape) != 2]:
            raise ConfigError(
                f"text is for inputs of two dimensions, and this model takes {listed(other)}",
                allowed="inputs of [batch, length]; source: arrays or dataset for others",
            )
        try:
            content = self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as e:
            raise StageError(f"text: {self.path.name} is no UTF-8: {first_line(e)}", allowed="UTF-8") from e
        lines = {number: line for number, line in enumerate(content.split("\n"), 1) if line.strip()}
        if not lines:
            raise StageError(f"text: {self.path.name} has no lines", allowed="a sample a line")
        labels = [self._label(number, line) if self._labelled else None for number, line in lines.items()]
        texts = [line.partition("\t")[2] if self._labelled else line for line in lines.values()]
        try:
            tokenize = AutoTokenizer.from_pretrained(self.tokenizer, local_files_only=True, trust_remote_code=False)
            length = _length(interface)
            cut = sum(len(ids) > length for ids in tokenize(texts)["input_ids"])
            tokenized = tokenize(texts, padding="max_length", truncation=True, max_length=length, return_tensors="np")
        except Exception as e:  # tokenizers raise anything
            raise StageError(f"tokenizer: {self.tokenizer.name} cannot be used: {first_line(e)}") from e
        if missing := [n for n in interface.inputs if n not in tokenized]:
            raise StageError(
                f"tokenizer: {self.tokenizer.name} gives {listed(tokenized)}, and no {listed(missing)}",
                allowed=f"what the model takes: {listed(interface.inputs)}",
            )
        arrays = {n: tokenized[n] for n in interface.inputs}
        caution = f"{cut} of {len(texts)} texts are cut at {length} tokens: model.dims.sequence.max" if cut else ""
        return _TextRows(arrays, labels, interface, self.path.name, caution)

    def _label(self, number: int, line: str) -> int:
        first, tab, _ = line.partition("\t")
        if not tab or not first.strip().isdecimal():
            raise StageError(
                f"text: line {number} of {self.path.name} begins with '{first[:20]}'",
                allowed="a whole number and a tab before each text of a .tsv",
            )
        return int(first)


def _length(interface: Interface) -> int:
    """The length to which texts are padded: the largest second dimension of the first input."""
    size = next(iter(interface.inputs.values())).shape[1]
    return range_of(size, interface.dims).max if isinstance(size, str) else int(size)


@dataclass(frozen=True)
class _TextRows(Rows):
    arrays: Mapping[str, Array]
    labels: Sequence[int | None]
    interface: Interface
    origin: str
    caution: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> Row:
        row = Row({n: v[number] for n, v in self.arrays.items()}, self.labels[number])
        return fitting(row, self.interface, self.origin)
