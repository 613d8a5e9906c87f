"""Records the PyTorch model's answers to labelled samples; every artifact's accuracy is compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, StageError, listed
from pipeline.stage import AtLeast
from stages.data import spec
from stages.data.origin import RequiredOrigin
from stages.formats import eager, session
from stages.formats.session import How
from stages.interface import interface as model_interface
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface
from stages.samples import files as sample_files
from stages.samples.files import Samples
from stages.samples.settings import Sampling


@dataclass(frozen=True)
class RecordAnswers(Sampling):
    """The labelled samples of a source, and the eager module's answers.

    Args:
        samples: Their source, see stages/data/spec.py. Its content is part of the key.
        count: How many at most, 1 or more, chosen by the seed; None for all.
        preprocessing: The preprocessing of photographs.
        seed: The seed of the choice.
    """

    samples: Annotated[Any, RequiredOrigin("model.evaluation", labelled=True)]
    # OmegaConf 2.3 reads Optional, not X | None.
    count: Annotated[Optional[int], AtLeast(1, "1 or more; null for all")]
    preprocessing: Optional[Preprocessing]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "reference": frozenset({Kind.REFERENCE}),
        "module": frozenset({Kind.MODULE}),
    }
    produces: ClassVar[Kind | str] = Kind.ANSWERS
    requires: ClassVar[tuple[str, ...]] = ("numpy", "safetensors", "torch")
    repeatable: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        reference = inputs["reference"]
        module = session.with_interface(inputs["module"], reference)
        interface = Interface.read(reference)
        rows = self.source.open(interface, self.seed)
        samples = sample_files.draw(rows, self.count, self.seed)
        if samples.labels is None:
            raise StageError(
                f"the {len(samples)} samples have no labels, so there is nothing to hold answers to",
                allowed="images in a folder for each class, an array named labels, a .tsv, items that end in a label",
            )
        sample_files.write(replace(samples, answers=_answers(module, samples)), Kind.ANSWERS, folder)
        about = {"from": spec.says(self.samples), "count": len(samples)}
        says = f"{len(samples)} labelled samples, {about['from']}; outputs {listed(interface.outputs, 4)}"
        return Artifact(
            Kind.ANSWERS,
            folder,
            facts={sample_files.FACT: about},
            notes={"says": says, **({"caution": rows.caution} if rows.caution else {})},
        )


def _answers(module: Artifact, samples: Samples) -> dict[str, Any]:
    """The module's outputs, [samples, …] by name."""
    import numpy as np

    running = eager.open_session(module, How("float32", None, {}, ()))
    by_name: dict[str, list[Any]] = {}
    for arrays, _, count in sample_files.fed(module, samples):
        fed = len(next(iter(arrays.values())))
        for name, values in running(arrays).items():
            if not values.ndim or len(values) != fed:
                raise ConfigError(
                    f"output '{name}' is {model_interface.says(values.shape)} for {fed} samples",
                    allowed="outputs that begin with the batch, a row for each sample",
                    command="model.outputs=[…] with those alone",
                )
            by_name.setdefault(name, []).append(np.asarray(values)[:count])
    return {name: np.concatenate(parts) for name, parts in by_name.items()}
