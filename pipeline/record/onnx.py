"""A record in an ONNX file: an entry of ModelProto.metadata_props, appended to the file.

Source: onnx/onnx.proto (ModelProto, StringStringEntryProto).
"""

from __future__ import annotations

from pipeline.artifact import FILES, Kind
from pipeline.record import protobuf


class Onnx(protobuf.Carried):
    """ModelProto.metadata_props; see `pipeline.record.carrier.Carrier`."""

    FILE = FILES[Kind.ONNX]
    SUFFIX = ".onnx"
    FORM = "ONNX file"
    PLACE = (14,)
