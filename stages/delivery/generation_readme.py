"""The README of a bundle of a language model's folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.delivery import bundle
from stages.delivery.readme import Readme
from stages.interface.generation import Generation


@dataclass(frozen=True)
class GenerationReadme(Readme):
    """The README's text."""

    @property
    def _claim(self) -> Mapping[str, Any]:
        claims: list[Mapping[str, Any]] = [c["tokens"] for c in self._record["checks"] if "tokens" in c]
        return claims[-1]

    def _interface(self) -> Iterator[str]:
        generation = Generation.read(self.artifact)
        yield "## The model"
        window = f", of which it sees the last {generation.window}" if generation.window else ""
        pad = generation.pad
        padding = "no token fills up" if pad is None else f"rows of a batch are filled up with {pad}"
        yield (
            f"{generation.model_type or 'A decoder'} of {generation.layers} layers: {generation.vocabulary} tokens in "
            f"its vocabulary, {generation.positions} positions{window}. A text ends with {_tokens(generation.eos)}; "
            f"{padding}."
        )

    def _photographs(self) -> Iterator[str]:
        yield from ()

    def _loading(self) -> Iterator[str]:
        form = self._form
        assert form is not None
        yield "## Loading it"
        # If the caller chooses the tokens in any case, the README shows the call.
        if (by_ours := self._claim["by_ours"]) and not getattr(form, "BY_CALLER", False):
            yield f"{by_ours[:1].upper()}{by_ours[1:]}: `{bundle.SCRIPT}` has a loop over the graph that does without."
        else:
            yield f"```python\n{form.loading(self.file, '', '', self.artifact.facts, self._claim)}```"
        if form.ADVICE:
            yield form.ADVICE

    def _checking(self) -> Iterator[str]:
        claim = self._claim
        yield "## Checked"
        how = f"by our own loop over the graph ({claim['by_ours']})" if claim["by_ours"] else "in the runtime itself"
        yield (
            f"{how[:1].upper()}{how[1:]}, it continues with the tokens of {claim['against']}, {claim['new']} at most, "
            f"after {'; '.join(claim['batches'])}: wherever the first choice is ahead of the second by more than "
            f"{claim['least']:g} of the largest logit."
            + "".join(f" NOT CHECKED: {what}, {why}." for what, why in claim["not_asked"].items())
        )
        yield (
            f"With nothing but {bundle.needs(self.artifact)} and numpy, `python {bundle.SCRIPT}` compares the files "
            f"with what was delivered, and the model with `{bundle.TOKENS}`. Exit code 0: all of it holds; 5: "
            "something does not. `--help` has the rest."
        )


def _tokens(ends: Any) -> str:
    return " or ".join(map(str, ends)) or "no token of its own"
