"""What others may ask of ONNX graphs."""

from __future__ import annotations

from pipeline.formats import Format, Kind

ONNX = Kind("onnx")

FORMATS = {
    "onnx": Format(
        file="model.onnx",
        delivered=True,
        record="record",
        probe="probe",
        runtime="runtime",
        model="model",
        types="types",
        constants="types",
        values="values",
        largest="values",
        host="host",
        bundle="bundle",
    )
}
