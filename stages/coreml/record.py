"""A record in a Core ML package: an entry of its model's metadata, appended to model.mlmodel.

Source: coremltools' Model.proto (Model, ModelDescription, Metadata). A description that comes twice is merged.
"""

from __future__ import annotations

from stages.coreml.format import COREML
from stages.formats import protobuf


class Record(protobuf.ProtobufRecord):
    """Metadata.userDefined; see `pipeline.record.carrier.Carrier`."""

    FILE = f"{COREML.file}/Data/com.apple.CoreML/model.mlmodel"
    SUFFIX = ".mlpackage"
    FORM = "Core ML model"
    PLACE = (2, 100, 100)  # Model.description, its metadata, and the map userDefined in that
