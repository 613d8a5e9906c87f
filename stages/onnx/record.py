"""A record in an ONNX file: an entry of ModelProto.metadata_props, appended to the file.

Source: onnx/onnx.proto (ModelProto, StringStringEntryProto).
"""

from __future__ import annotations

from stages.formats import protobuf
from stages.onnx.format import ONNX


class Record(protobuf.ProtobufRecord):
    """ModelProto.metadata_props; see `pipeline.record.carrier.Carrier`."""

    FILE = ONNX.file
    SUFFIX = ".onnx"
    FORM = "ONNX file"
    PLACE = (14,)
