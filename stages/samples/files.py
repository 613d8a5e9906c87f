"""The files of samples: inputs row by row, labels, and the model's answers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError, listed
from stages.data import rows as data_rows
from stages.data.rows import Rows
from stages.interface.interface import Interface, says
from stages.reference import artifact_cases
from stages.reference import cases as reference_cases
from stages.reference.cases import Case

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

FACT = "samples"
MOST_BYTES = 4 * 2**30  # of one set of samples, all of which is in memory


@dataclass(frozen=True)
class Samples:
    """Rows of every input, in the order in which they were drawn.

    Args:
        inputs: [samples, …] by name.
        labels: [samples, …]; None where there are none.
        answers: The model's answers, [samples, …] by the outputs' names; none where it did not run.
        left_out: How many were skipped because they are among the samples to avoid.
    """

    inputs: Arrays
    labels: Array | None = None
    answers: Arrays = field(default_factory=dict)
    left_out: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def digests(self) -> list[bytes]:
        """The digest of each row's inputs, which identifies the row."""
        return [_digest({n: v[i] for n, v in self.inputs.items()}) for i in range(len(self))]


def draw(rows: Rows, count: int | None, seed: int, apart_from: Collection[bytes] = ()) -> Samples:
    """Rows at random, each once; or all of them in their order.

    Args:
        rows: All rows of the source.
        count: How many at most; None for all.
        seed: The seed of the choice.
        apart_from: Digests of rows to skip.

    Raises:
        StageError: When a row cannot be read, or none remains.
    """
    import numpy as np

    if not len(rows):
        raise StageError("the source is empty", allowed="one sample or more")
    order = range(len(rows)) if count is None else np.random.default_rng([seed, *b"samples"]).permutation(len(rows))
    chosen, left_out = [], 0
    for place in order:
        row = rows[int(place)]
        if _digest(row.inputs) in apart_from:
            left_out += 1
            continue
        chosen.append(row)
        if len(chosen) == 1:
            _demand_room(row.inputs, min(len(rows), count or len(rows)))
        if len(chosen) == count:
            break
    if not chosen:
        raise StageError(
            f"no sample is left of {len(rows)}: {left_out} are what the artifact is checked with, too",
            allowed="samples apart from model.inputs.NAME.fill",
        )
    inputs = {n: _stacked([r.inputs[n] for r in chosen], f"samples of '{n}'") for n in chosen[0].inputs}
    return Samples(inputs, _labels([r.label for r in chosen]), left_out=left_out)


def _demand_room(row: Arrays, count: int) -> None:
    size = count * sum(v.nbytes for v in row.values())
    if size > MOST_BYTES:
        raise StageError(
            f"{count:,} samples are {size / 2**30:.1f} GiB, and all of them are held in memory",
            allowed=f"{MOST_BYTES / 2**30:.0f} GiB",
            command="stages.answers.count=5000, or stages.calibration.count=300",
        )


def _labels(labels: list[Any]) -> Array | None:
    unlabelled = sum(label is None for label in labels)
    if unlabelled == len(labels):
        return None
    if unlabelled:
        raise StageError(f"{unlabelled} of {len(labels)} samples have no label", allowed="all of them, or none")
    stacked = _stacked(labels, "labels")
    if stacked.dtype.kind not in "biuf":
        raise StageError(f"labels are {stacked.dtype}, such as '{labels[0]}'", allowed="numbers")
    return stacked


def _stacked(values: list[Any], what: str) -> Array:
    import numpy as np

    if len(shapes := sorted({says(np.shape(v)) for v in values})) > 1:
        raise StageError(
            f"{what} have different shapes: {listed(shapes)}",
            allowed="one shape for every sample: padded texts, images of one size",
        )
    return np.stack(values)


def write(samples: Samples, kind: Kind, folder: Path) -> None:
    """A tensor "inputs/<name>" for each input, "answers/<name>" for each output, and "labels"."""
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {f"inputs/{n}": v for n, v in samples.inputs.items()}
    arrays |= {f"answers/{n}": v for n, v in samples.answers.items()}
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    save_file({n: np.asarray(v, order="C") for n, v in arrays.items()}, folder / kind.file)


def read(artifact: Artifact) -> Samples:
    """The samples of an artifact, in the order in which they were drawn."""
    from safetensors.numpy import load_file

    arrays = load_file(artifact.file)
    names = list(Interface.read(artifact).inputs)
    answers = {n.removeprefix("answers/"): v for n, v in arrays.items() if n.startswith("answers/")}
    return Samples({n: arrays[f"inputs/{n}"] for n in names}, arrays.get("labels"), answers)


def fed(artifact: Artifact, samples: Samples, most: int = 64) -> Iterator[tuple[Arrays, Arrays, int]]:
    """Batches in an artifact's own terms.

    Yields its inputs, the model's answers in its own terms, and how many rows count: a batch that must be larger is
    filled up with its last row.

    Raises:
        StageError: For an artifact that takes photographs' bytes, which samples do not have.
    """
    import numpy as np

    interface = Interface.read(artifact)
    if artifact_cases.edits_of(artifact).images is not None:
        raise StageError(
            "the artifact takes raw photographs, and samples are what a model takes",
            command="without also=image",
        )
    for rows, more in data_rows.batches(interface, len(samples), most):

        def filled(values: Array, rows: slice = rows, more: int = more) -> Array:
            part = values[rows]
            return np.concatenate([part, np.repeat(part[-1:], more, axis=0)]) if more else part

        inputs = {n: filled(v) for n, v in samples.inputs.items()}
        answers = {n: filled(v) for n, v in samples.answers.items()}
        adapted = artifact_cases.case_for(artifact, Case("samples", inputs, answers))
        if adapted is None:
            raise StageError("the artifact does not take samples of these sizes: its interface was edited")
        yield adapted.inputs, adapted.outputs, rows.stop - rows.start


def keep_apart(samples: Samples, calibration: Samples) -> None:
    """Raises ConfigError for samples in both sets: accuracy on calibration samples would be too good."""
    if shared := len({*samples.digests} & {*calibration.digests}):
        raise ConfigError(
            f"{shared} of the {len(samples)} samples for evaluation are among the {len(calibration)} for calibration",
            allowed="two sets that share nothing",
            command="another model.calibration or model.evaluation",
        )


def of_reference(reference: Artifact) -> set[bytes]:
    """The digests of the rows that artifacts are checked with."""
    digests = set()
    for case in reference_cases.read(reference):
        rows = {len(v) for v in case.inputs.values() if v.ndim}
        if len(rows) == 1:
            digests |= {_digest({n: v[i] for n, v in case.inputs.items()}) for i in range(rows.pop())}
    return digests


def _digest(row: Arrays) -> bytes:
    sha256 = hashlib.sha256()
    for name in sorted(row):
        sha256.update(f"{name} {row[name].dtype} {row[name].shape} ".encode())
        sha256.update(row[name].tobytes())
    return sha256.digest()
