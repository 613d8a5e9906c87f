"""The text that ships with Python, what `help()` says of the language: pydoc_data/topics.py.

python text.py held_out.txt        writes the part that the model was not trained on
"""

from __future__ import annotations

import sys
from pathlib import Path
from pydoc_data.topics import topics

EVERY = 12  # one topic of so many is held out


def parts() -> tuple[str, str]:
    """What is trained on, and what is held out: topics in the order of their names."""
    names = sorted(topics)
    held_out = names[::EVERY]
    return "\n\n".join(topics[n] for n in names if n not in held_out), "\n\n".join(topics[n] for n in held_out)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(parts()[1], encoding="utf-8")
