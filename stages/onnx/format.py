"""The kinds of ONNX artifact, and the files here that know about each."""

from __future__ import annotations

from pipeline.formats import Format, Kind

ONNX = Kind("onnx")
ONNX_GENERATION = Kind("onnx_generation")  # the graph of a decoder in the folder that onnxruntime-genai loads

FORMATS = {
    "onnx": Format(
        file="model.onnx",
        delivered=True,
        record="record",
        probe="probe",
        runtime="runtime",
        model="model",
        types="types",
        operations="reading.operations",
        constants="types",
        values="values",
        largest="values",
        host="host",
        bundle="bundle",
    ),
    "onnx_generation": Format(
        file="model.onnx",
        delivered=True,
        record="record",
        runtime="runtime",
        types="types",
        operations="reading.operations",
        constants="types",
        generation="generation.folder",
        host="generation.host",
        bundle="generation.bundle",
    ),
}
