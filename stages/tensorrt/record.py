"""A record in the portability card beside a TensorRT engine, a JSON file, under "drydock.record".

An engine file has no place for it. It is added and removed as text, so that every other byte stays as it was written.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from pipeline.artifact import RECORD
from stages.tensorrt.format import TENSORRT

END = "\n}\n"
OURS = re.compile(rf',\n "{re.escape(RECORD)}": "(?:[^"\\]|\\.)*"(?=\n}}\n\Z)')


class Record:
    """The card of an engine; see `pipeline.record.carrier.Carrier`."""

    FILE = Path(TENSORRT.file).with_suffix(".json").name
    SUFFIX = ".json"
    BESIDE = (".engine",)

    @staticmethod
    def put(path: Path, text: str) -> None:
        before = path.read_text(encoding="utf-8")
        if not before.endswith(END):
            raise ValueError(f"{path} is no card of an engine: it does not end as one")
        ours = f',\n "{RECORD}": {json.dumps(text)}'
        path.write_text(before.removesuffix(END) + ours + END, encoding="utf-8")

    @staticmethod
    def get(path: Path) -> str | None:
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as e:
            raise ValueError(f"{path} is no card of an engine: {e}") from e
        record = card.get(RECORD) if isinstance(card, dict) else None
        return record if isinstance(record, str) else None

    @staticmethod
    def bare(path: Path) -> str:
        text = OURS.sub("", path.read_text(encoding="utf-8"))
        return hashlib.sha256(text.encode()).hexdigest()
