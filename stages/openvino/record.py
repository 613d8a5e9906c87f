"""A record in an OpenVINO IR: `model.get_rt_info(["drydock_record"])`, a line of the .xml file's rt_info.

It is added and removed as text, so that every other byte stays as it was checked. Source: OpenVINO's description of the
IR format; its reader takes the model's runtime information from the last element of <net>.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pipeline.artifact import RECORD
from stages.openvino.format import OPENVINO

END = re.compile(rb"(?:\t*</rt_info>\s*)?</net>\s*\Z")
# Not `drydock`, which has the compiler's facts: of two elements with one name OpenVINO reads only one.
NAME = RECORD.replace(".", "_")
OURS = re.compile(rf"\t\t<{NAME} value=(?:\"[^\"]*\"|'[^']*') />\n".encode())
OPENED, CLOSED = b"\t<rt_info>\n", b"\t</rt_info>\n"
# The text that `put` adds to a net without runtime information.
WRAPPED = re.compile(OPENED + rb"(?P<ours>" + OURS.pattern + rb")" + CLOSED)


class Record:
    """The .xml file of an IR; see `pipeline.record.carrier.Carrier`."""

    FILE = OPENVINO.file
    SUFFIX = ".xml"
    BESIDE = (".bin", ".blob")

    @staticmethod
    def put(path: Path, text: str) -> None:
        before = path.read_bytes()
        if (end := END.search(before)) is None:
            raise ValueError(f"{path} is no OpenVINO IR: it does not end with </net>")
        line = f"\t\t<{NAME} value='{_quoted(text)}' />\n".encode()
        ours = line if b"</rt_info>" in end[0] else OPENED + line + CLOSED
        path.write_bytes(before[: end.start()] + ours + before[end.start() :])

    @staticmethod
    def get(path: Path) -> str | None:
        from xml.etree import ElementTree  # here, since a warm run only calls `put`

        try:
            net = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as e:
            raise ValueError(f"{path} is no OpenVINO IR: {e}") from e
        if net.tag != "net":
            raise ValueError(f"{path} is no OpenVINO IR: its root is <{net.tag}>")
        element = net.find(f"./rt_info/{NAME}")
        return None if element is None else element.get("value")

    @staticmethod
    def bare(path: Path) -> str:
        after = path.read_bytes()
        ours = WRAPPED.search(after) or OURS.search(after)
        before = after if ours is None else after[: ours.start()] + after[ours.end() :]
        return hashlib.sha256(before).hexdigest()


def _quoted(text: str) -> str:
    """Text escaped for an attribute in single quotes: JSON is full of double ones."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
