"""Records the model's continuations, token by token, of prompts of several lengths, alone and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.notes import Notes
from pipeline.stage import AtLeast, Setting, Stage
from stages.generation import logits as logit_file
from stages.generation import model_folder
from stages.generation.eager import Eager
from stages.generation.format import MODEL_FOLDER, TOKENS
from stages.interface.generation import Generation
from stages.interface.interface import Interface
from stages.portable import generating
from stages.portable.generating import Batch, Rows, Text, TokenRecord
from stages.reference import eager_model

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Texts that a tokenizer is compared at: words, numbers, spaces, lines, marks, other scripts, signs of several bytes.
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces,\ttabs\nand lines\n\n",
    "In 2026, 3.14 % of 1,000,000 – that's it's 'quoted' \"twice\"!",
    "def f(x):\n    return x**2  # code",
    "Žluťoučký kůň, Größe, naïve café",
    "日本語と中文和한국어",
    "smile 🙂 and 👩‍💻",
)


class Lengths(Setting):
    """The lengths of prompts, in tokens."""

    def problems(self, name: str, value: list[int]) -> list[Problem]:
        wrong = [n for n in value if type(n) is not int or n < 1]
        allowed, command = "whole numbers ≥ 1, such as [1, 7, 40]", "'model.generation.prompts=[1,7,40]'"
        return [Problem(f"{name} is {value}", allowed, command)] if wrong or not value else []


@dataclass(frozen=True)
class RecordTokens(Stage):
    """`generate` of the PyTorch model, without sampling, and each token's margin over the second choice.

    Each prompt runs alone, and all of them together, padded on the left. Only the largest logit decides: penalties and
    sampling in generation_config.json are ignored. Our own loop runs a module that has no `generate`.

    Args:
        prompts: How many tokens each has; the tokens are drawn.
        tokens: How many follow, unless a token ends the text before.
        seed: For the prompts.
        logits: Whether to record logits too, for the prompts that run alone.
    """

    prompts: Annotated[list[int], Lengths()]
    tokens: Annotated[int, AtLeast(1, command="model.generation.tokens=32")]
    seed: int
    logits: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "module": frozenset({Kind.MODULE}),
        "reference": frozenset({Kind.REFERENCE}),
        "files": frozenset({MODEL_FOLDER}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"files"})
    produces: ClassVar[Kind | str] = TOKENS
    requires: ClassVar[tuple[str, ...]] = ("torch", "numpy", "transformers", "safetensors")
    native_to: ClassVar[tuple[str, ...]] = ("processor",)

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        import numpy as np

        # For a decoder of the user's own, only the reference knows the pairs of its cache.
        generation, interface = Generation.read(inputs["reference"]), Interface.read(inputs["reference"])
        longest = max(self.prompts) + self.tokens
        if longest > generation.positions:
            raise ConfigError(
                f"the longest prompt and what follows have {longest} tokens, and the model {generation.positions} "
                "positions",
                allowed=f"{generation.positions} together",
                command=f"model.generation.tokens={max(generation.positions - max(self.prompts), 1)}",
            )
        model = Eager(inputs["module"].live, generation, interface)
        prompts = self._drawn(generation)
        batches, logits = [], {}
        for prompt in prompts:
            batches.append(_batch(model, _many(len(prompt)), [prompt], self.tokens))
            logits[batches[-1].label] = np.concatenate(model.steps)
        if len(prompts) > 1:
            together = f"{listed(str(len(p)) for p in prompts)} tokens, filled up on the left"
            batches.append(_batch(model, together, prompts, self.tokens))
        texts = _texts(inputs.get("files"))
        record = TokenRecord(self.tokens, list(generation.eos), generation.fills, batches, texts)
        generating.write_tokens(record, folder / TOKENS.file)
        if self.logits:
            logit_file.write(logits, folder)
        recorded = [token for batch in batches for row in batch.tokens for token in row]
        kinds = len(set(recorded))
        notes = Notes(says=f"{len(recorded)} tokens, {kinds} different, after prompts of {_lengths(self.prompts)}")
        if kinds < 2:
            notes["caution"] = "the model continues every prompt with one and the same token: equal tokens prove little"
        return Artifact(TOKENS, folder, facts=generation.facts, notes=notes)

    def _drawn(self, generation: Generation) -> list[list[int]]:
        """Prompts without the special tokens that begin, end or fill up a text."""
        import numpy as np

        special = {*generation.eos, generation.bos, generation.fills}
        plain = np.array([t for t in range(generation.vocabulary) if t not in special])
        if not plain.size:
            raise StageError(f"all {generation.vocabulary} tokens begin, end or fill up a text")
        draw = np.random.default_rng(self.seed)
        return [draw.choice(plain, length).tolist() for length in self.prompts]


def _many(length: int) -> str:
    return f"{length} token{'s' * (length != 1)}"


def _lengths(prompts: Sequence[int]) -> str:
    return f"{listed(map(str, prompts))} tokens"


def _batch(model: Eager, label: str, prompts: Rows, new: int) -> Batch:
    """The continuations of a batch, with the margin of each token."""
    with eager_model.computing():
        rows = model(prompts, new)
    steps = [min(len(row) + 1, len(model.steps)) for row in rows]
    margins = [[generating.margin(model.steps[n][place]) for n in range(most)] for place, most in enumerate(steps)]
    return Batch(label, prompts, rows, margins)


def _texts(files: Artifact | None) -> list[Text]:
    """The tokens of some texts by the model's own tokenizer; empty where it has none."""
    if files is None or not model_folder.has_tokenizer(files):
        return []
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
    return [Text(text, [int(t) for t in tokenizer(text)["input_ids"]]) for text in TEXTS]
