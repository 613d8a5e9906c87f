"""A record in the IR of a folder that openvino_genai loads."""

from __future__ import annotations

from stages.openvino import record
from stages.openvino.format import OPENVINO_GENERATION


class Record(record.Record):
    """A record in the .xml file; see `pipeline.record.carrier.Carrier`."""

    FILE = OPENVINO_GENERATION.file
