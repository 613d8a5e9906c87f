"""The page of a survey: a summary by family, the causes of what is missed, then a table for each family."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.coverage.models import Subject
from benchmarks.coverage.survey import Row

# What a sentence of a failure is about, the first that fits; the rest are other.
CAUSES = {
    "its inputs are not known": "nothing is known of",
    "the model rejects the inputs that were derived": "the model rejects",
    "no function of its inputs: it draws random numbers": "answers otherwise|answers differ",
    "answers the same to every input": "proves nothing",
    "torch.export cannot capture it": "torch.export cannot|cannot be dynamic|specialized|data-dependent",
    "torch.jit.trace cannot capture it": "torch.jit.trace cannot",
    "it writes into a view": "writes into a view|No matching select",
    "an operator has no translation": "no translation|no conversion rule|not translate|not implemented|operator|"
    "cannot write|Unsupported",
    "tensors of more than five dimensions": r"rank <= 5|more than (5|five) dimensions",
    "a branch of a trace goes another way": "example's way alone|another way|branch",
    "a size that has to be known is open": "has to be known|of type 'Symbol'|non-1d tensor",
    "the artifact does not agree": "does not agree|differs|off by|instead of",
    "an operator has another type than was asked for": "not what was asked for",
    "the converter fails": "cannot convert|OpConversionFailure",
    "the runtime cannot run it": "cannot load|cannot be run",
    "its process died": "process ended|signal",
    "not finished in time": "not finished within",
}


def cause(text: str) -> str:
    """The kind of a failure, of the sentence that says what is wrong."""
    return next((kind for kind, words in CAUSES.items() if re.search(words, text)), "other")


def written(
    intro: Sequence[str],
    libraries: Sequence[str],
    ways: Sequence[str],
    rows: Sequence[tuple[Subject, Row]],
    open_ones: Sequence[Subject],
) -> str:
    """The page.

    Args:
        intro: The title and what was done, line by line.
        libraries: Whose versions are named.
        ways: The columns.
        rows: Each model that was converted, and what became of it.
        open_ones: The models that were not converted yet.
    """
    from pipeline.machine.world import library_version

    versions = ", ".join(f"{m} {library_version(m)}" for m in libraries)
    commits = ", ".join(f"{at[:10]} ({count} models)" for at, count in Counter(r.commit for _, r in rows).items())
    lines = [
        *intro,
        f"Measured with {versions}, at {commits}.",
        *_not_measured(open_ones),
        "",
        "| family | models | " + " | ".join(ways) + " |",
        "| --- | ---: |" + " ---: |" * len(ways),
    ]
    families = list(dict.fromkeys(s.family for s, _ in rows))
    for family in families:
        of_family = [r.cells for s, r in rows if s.family == family]
        shares = [sum(cells[i].ok for cells in of_family) / len(of_family) for i in range(len(ways))]
        lines.append(f"| {family} | {len(of_family)} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    lines += [
        "",
        "## What is missed, by kind",
        "",
        "| cause | " + " | ".join(ways) + " |",
        "| --- |" + " ---: |" * len(ways),
    ]
    missed = [Counter(cause(r.cells[i].text) for _, r in rows if not r.cells[i].ok) for i in range(len(ways))]
    lines += [
        f"| {kind} | {' | '.join(str(m[kind]) for m in missed)} |"
        for kind in (*CAUSES, "other")
        if any(m[kind] for m in missed)
    ]
    for family in families:
        lines += ["", f"## {family}", "", "| model | " + " | ".join(ways) + " |", "| --- |" + " --- |" * len(ways)]
        lines += [
            f"| {s.name} | {' | '.join(_escaped(c.text) for c in r.cells)} |" for s, r in rows if s.family == family
        ]
    return "\n".join(lines) + "\n"


def _not_measured(open_ones: Sequence[Subject]) -> list[str]:
    """A sentence on the models that were not converted yet; none where all were."""
    counts = ", ".join(f"{count} of {family}" for family, count in Counter(s.family for s in open_ones).items())
    return ["", f"**Not measured yet**: {counts}."] if open_ones else []


def _escaped(text: str) -> str:
    """As a cell of a table, shortened."""
    one_line = " ".join(text.split())
    return (one_line if len(one_line) < 220 else f"{one_line[:219]}…").replace("|", "\\|")
