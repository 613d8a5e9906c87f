"""Generates with a delivered folder in its own runtime, and passes it on only if the tokens are the PyTorch model's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, cast

from pipeline import formats
from pipeline.artifact import Artifact, Kind
from pipeline.errors import CheckFailed, listed
from pipeline.notes import Notes
from pipeline.stage import Stage
from stages.formats import session
from stages.formats.extensions import Extensions
from stages.formats.running import COMPUTE
from stages.formats.session import How
from stages.generation import folders, logits
from stages.generation.folders import Generator
from stages.generation.format import TOKENS
from stages.portable import generating
from stages.portable.comparison import Figures, Tolerance
from stages.portable.generating import Batch, TokenRecord
from stages.portable.vendor_errors import first_line
from stages.reference.tolerance import Within

# Below this margin, two runtimes of one graph may choose different tokens: they sum products of few bits in different
# orders.
SAME_GRAPH = 0.01


@dataclass(frozen=True)
class CheckGeneration(Stage):
    """Prompts of several lengths, alone and padded together, must give the same tokens as the PyTorch model.

    Where the model's first choice is ahead of its second by no more than this precision's rounding, both are right: a
    row that differs there is not compared any further, and the notes say so. Then the runtime is also compared with our
    own loop over the same graph.

    Where the folder's runtime does not feed its cache, our own loop runs the same graph, and the notes say so.

    Args:
        compute: The type that the graph must compute in; set and read back.
        properties: The runtime's own settings by its own names, such as KV_CACHE_PRECISION; each is read back.
        extensions: Operations that the runtime does not have by itself.
        tolerance: How far a logit may be off. A first choice that leads by at most twice its max_rel counts as close.
        ours: Whether our own loop runs the graph in any case.
    """

    compute: Annotated[str, COMPUTE]
    properties: dict[str, str]
    extensions: Annotated[list[str], Extensions()]
    tolerance: Annotated[Tolerance, Within()]
    ours: bool

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {
        "artifact": formats.kinds("generation"),
        "tokens": frozenset({TOKENS}),
    }
    produces: ClassVar[Kind | str] = "artifact"
    requires: ClassVar[tuple[str, ...]] = ("numpy",)
    native_to: ClassVar[tuple[str, ...]] = ("processor",)
    isolable: ClassVar[bool] = True

    def modules(self, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
        takes = formats.part(kinds["artifact"], "generation").REQUIRES if "artifact" in kinds else ()
        return tuple(sorted({*super().modules(kinds), *takes}))

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        artifact, record = inputs["artifact"], generating.read_tokens(inputs["tokens"].file)
        how = How(self.compute, None, self.properties, self.extensions)
        running = folders.format_part(artifact).open_generator(artifact, how, ours=self.ours)
        session.must_compute_in(self.compute, running.computes_in)
        least = 2 * self.tolerance.max_rel
        agreements, unfit = [], {}
        expected = logits.read(inputs["tokens"])
        figures: dict[str, Figures] = {}
        apart: list[str] = []
        for batch in record.batches:
            runs = running
            if why := running.unfit(batch.prompts, record.new):
                unfit[batch.label] = why
                runs = folders.format_part(artifact).open_generator(artifact, how, ours=True)
            rows = self._continued(artifact, runs, batch, record.new)
            agreements.append(generating.agreement(rows, batch, least))
            steps = getattr(runs, "steps", None)  # a runtime of another's gives tokens alone
            if steps is not None and batch.label in expected:
                logit_figures, off = logits.compared(
                    batch.label, steps, rows, expected[batch.label], record, self.tolerance
                )
                figures |= {batch.label: logit_figures} if logit_figures else {}
                apart += off
        if wrong := [*(w for one in agreements for w in one.wrong), *apart]:
            raise CheckFailed(
                f"this {artifact.kind} does not continue as the PyTorch model does, in {running.says}\n    "
                + "\n    ".join(wrong),
                allowed=f"the same wherever its first choice is ahead by more than {least:g} of the largest logit",
                command=self._try(running),
            )
        equal, unclear = sum(one.equal for one in agreements), sum(one.open for one in agreements)
        alike = 0
        if unclear and not running.by_ours:
            alike = self._like_its_graph(artifact, running, record, how, unfit)
        not_asked = self._tokenizer(running, record)
        not_asked |= {f"{label} together in the runtime": f"{why}: by our own loop" for label, why in unfit.items()}
        if not equal:
            not_asked["tokens of the PyTorch model"] = "no first choice is further ahead than this precision may be off"
        batches = {b.label: one.equal for b, one in zip(record.batches, agreements, strict=True)}
        own = sum(batches[label] for label in unfit)
        says = f"{equal} tokens equal through {running.says}" + (f" and, {own} of them, by our own loop" if own else "")
        says += f" ({running.by_ours})" if running.by_ours else ""
        says += f"; {unclear} after a choice too close to call" if unclear else ""
        says += f"; in all, {alike} are those of the same graph in our own loop" if alike else ""
        says += f"; logits to {max(f.max_rel for f in figures.values()):.1e}" if figures else ""
        notes = Notes(
            says=says,
            generation={
                "runtime": running.says,
                "by_ours": running.by_ours,
                "computes_in": running.computes_in,
                "properties": dict(running.properties),
                "against": "the PyTorch model's generate",
                "equal": equal,
                "open": unclear,
                "own": own,
                "alike": alike,
                "batches": batches,
                "logits": {label: f.max_rel for label, f in figures.items()},
            },
            claims={
                "tokens": {
                    "against": "the PyTorch model's generate",
                    "least": least,
                    "tolerance": asdict(self.tolerance),
                    "compute": self.compute,
                    "properties": dict(running.properties),
                    "by_ours": running.by_ours,
                    "batches": [b.label for b in record.batches],
                    "new": record.new,
                    "texts": len(record.texts) if "tokenizer" not in not_asked else 0,
                    "not_asked": not_asked,
                }
            },
        )
        if not_asked:
            notes["caution"] = "; ".join(f"NOT CHECKED: {what}, {why}" for what, why in not_asked.items())
        return artifact.noting(**notes)

    def _like_its_graph(
        self, artifact: Artifact, running: Generator, record: TokenRecord, how: How, unfit: Collection[str]
    ) -> int:
        """How many of the runtime's tokens equal those of the same graph in our loop.

        Raises CheckFailed where one differs by more than rounding explains.
        """
        loop = folders.format_part(artifact).open_generator(artifact, how, ours=True)
        alike = 0
        for batch in (b for b in record.batches if b.label not in unfit):
            graph = generating.recorded(cast("generating.Decoder", loop), batch, record)
            rows = self._continued(artifact, running, graph, record.new)
            agreement = generating.agreement(rows, graph, SAME_GRAPH)
            if agreement.wrong:
                raise CheckFailed(
                    f"this {artifact.kind} does not continue in {running.says} as its own graph does in our loop\n    "
                    + "\n    ".join(agreement.wrong),
                    allowed=f"the same wherever the first choice is ahead by more than {SAME_GRAPH:g}",
                    command=self._try(running),
                )
            alike += agreement.equal
        return alike

    def _continued(self, artifact: Artifact, running: Generator, batch: Batch, new: int) -> list[list[int]]:
        try:
            return running(batch.prompts, new)
        except Exception as e:  # a runtime raises anything
            raise CheckFailed(
                f"this {artifact.kind} cannot continue from {batch.label}, in {running.says}: {first_line(e)}",
                allowed="prompts of any length and number",
                command=self._try(running),
            ) from e

    def _try(self, running: Generator) -> str:
        if running.by_ours:
            return "another capture or target"
        return "stages.check_generation.ours=true, which shows whether it is the graph or the runtime"

    def _tokenizer(self, running: Generator, record: TokenRecord) -> dict[str, str]:
        """Why the tokenizer was not checked, by "tokenizer". Raises CheckFailed where its tokens of a text differ."""
        if not record.texts:
            return {"tokenizer": "the model came without one"}
        try:
            rows = running.tokenized(record.texts)
        except Exception as e:  # as above
            raise CheckFailed(
                f"{running.says} does not load the folder's tokenizer: {first_line(e)}",
                command="stages.folder.tokenizer=false for a folder without",
            ) from e
        if rows is None:
            return {"tokenizer": f"{running.says} has none"}
        if wrong := [(t, row) for t, row in zip(record.texts, rows, strict=True) if list(t.tokens) != row]:
            text, row = wrong[0]
            raise CheckFailed(
                f"the tokenizer of {running.says} differs from the model's in {len(wrong)} of {len(rows)} texts: of "
                f"{text.text!r} it makes {_brief(row)}, the model's {_brief(text.tokens)}",
                command="stages.folder.tokenizer=false for a folder without, whose texts become tokens elsewhere",
            )
        return {}


def _brief(tokens: Sequence[int]) -> str:
    return f"[{listed(map(str, tokens), 12)}]"
