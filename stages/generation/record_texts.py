"""Records the probabilities that the model gives to texts: texts drawn from the model itself, or the user's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Optional

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, StageError
from pipeline.notes import Notes
from pipeline.stage import AtLeast, OneOf, Setting, Stage, World, digest_of
from stages.generation import model_folder
from stages.generation import texts as text_files
from stages.generation.eager import Eager
from stages.generation.format import MODEL_FOLDER, TEXTS
from stages.interface.generation import Generation
from stages.interface.interface import Interface
from stages.reference import eager_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    Array = np.ndarray[Any, Any]

TEXT = "text"
OWN, USERS = "the model's own", "the text that was given"


class TextFile(Setting):
    """The path of a text: its content is part of the key."""

    def files(self, value: str) -> Iterable[str]:
        return [value]

    def identity(self, name: str, value: str, world: World) -> Any:
        command = "model.evaluation.path=FILE.txt"
        return digest_of(Path(value).expanduser(), world, f"{name}={value}", allowed="a text of UTF-8", command=command)


@dataclass(frozen=True)
class RecordTexts(Stage):
    """Texts of equal lengths, with the PyTorch model's probabilities at each place.

    The model's own texts start with the token that begins a text, or a random one, and continue with tokens drawn by
    its probabilities. A user's text is tokenized by the model's own tokenizer and cut into pieces, some of which are
    drawn.

    Args:
        source: text for the user's; None for the model's own.
        path: The file of the text, UTF-8.
        count: How many texts, or pieces of one at most.
        length: Tokens of each.
        seed: For all draws.
    """

    # OmegaConf 2.3 reads Optional, not X | None.
    source: Annotated[Optional[str], OneOf((TEXT,), f"{TEXT}; null for texts of the model's own")]
    path: Annotated[Optional[str], TextFile()]
    count: Annotated[int, AtLeast(1)]
    length: Annotated[int, AtLeast(2, "2 or more: of a first token nothing is known", "stages.texts.length=64")]
    seed: int

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
        "files": frozenset({MODEL_FOLDER}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"files"})
    produces: ClassVar[Kind | str] = TEXTS
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors", "transformers")
    native_to: ClassVar[tuple[str, ...]] = ("processor",)

    def unused(self) -> Collection[str]:
        return () if self.source == TEXT else ("path",)

    def conflicts(self) -> Iterator[Problem]:
        if self.source == TEXT and not self.path:
            yield Problem("path is null, and source is text", "the path of a text", "model.evaluation.path=FILE.txt")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        module, reference = inputs["module"], inputs["reference"]
        generation = Generation.read(reference)
        if self.length > generation.positions:
            raise ConfigError(
                f"texts have {self.length} tokens, and the model {generation.positions} positions",
                allowed=f"2 to {generation.positions}",
                command=f"stages.texts.length={generation.positions}",
            )
        decoder = Eager(module.live, generation, Interface.read(reference))
        says = USERS if self.source == TEXT else OWN
        with eager_model.computing():
            tokens = self._read(inputs.get("files")) if self.source == TEXT else self._drawn(decoder, generation)
            texts = text_files.described(decoder, tokens, generation.vocabulary)
        text_files.write(texts, folder)
        count, length = tokens.shape
        about = {"from": says, "texts": count, "length": length, "vocabulary": generation.vocabulary}
        notes = Notes(says=f"{count} texts of {length} tokens, {says}; perplexity {texts.perplexity:.4g}")
        return Artifact(TEXTS, folder, facts={text_files.FACT: about}, notes=notes)

    def _drawn(self, decoder: Eager, generation: Generation) -> Array:
        """Texts drawn from the model itself, [count, length]."""
        import numpy as np

        draw = np.random.default_rng(self.seed)
        first = generation.bos if generation.bos is not None else draw.integers(generation.vocabulary, size=self.count)
        tokens = np.zeros((self.count, self.length), np.int64)
        tokens[:, 0] = first
        decoder.start(self.count)
        for place in range(1, self.length):
            positions = np.full((self.count, 1), place - 1, np.int64)
            mask = np.ones((self.count, place), np.int64)
            logarithms = text_files.logarithms(
                decoder.logits(tokens[:, place - 1 : place].copy(), mask, positions)[:, -1]
            )
            tokens[:, place] = (logarithms + draw.gumbel(size=logarithms.shape)).argmax(-1)  # the Gumbel-max trick
        return tokens

    def _read(self, files: Artifact | None) -> Array:
        """Pieces of the user's text, [count, length]."""
        import numpy as np

        if files is None or not model_folder.has_tokenizer(files):
            raise StageError(
                "the model came without a tokenizer, which turns a text into tokens",
                allowed="a folder with tokenizer.json",
                command="model.evaluation.source=null, which has the model draw texts of its own",
            )
        from transformers import AutoTokenizer

        path = Path(str(self.path)).expanduser()
        try:
            content = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as e:
            raise StageError(f"{path.name} is no UTF-8: {e.reason} at byte {e.start}", allowed="UTF-8") from e
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
        ids = np.array(tokenizer(content, verbose=False)["input_ids"], np.int64)
        whole = len(ids) // self.length
        if not whole:
            raise StageError(
                f"{path.name} has {len(ids)} tokens, and a piece of it has {self.length}",
                allowed="a longer text",
                command=f"stages.texts.length={max(len(ids), 2)}",
            )
        pieces: Array = ids[: whole * self.length].reshape(whole, self.length)
        chosen = np.random.default_rng(self.seed).permutation(whole)[: self.count]
        return pieces[np.sort(chosen)]
