"""The kinds of OpenVINO artifact, and the files here that know about each; torch.compile runs modules with it."""

from __future__ import annotations

from pipeline.formats import Format, Kind

OPENVINO = Kind("openvino")  # OpenVINO IR
OPENVINO_BLOB = Kind("openvino_blob")  # the same, compiled for one device, beside it
OPENVINO_STATEFUL = Kind("openvino_stateful")  # the IR of a decoder that has its cache in states
OPENVINO_GENERATION = Kind("openvino_generation")  # the same, as the folder that openvino_genai loads

FORMATS = {
    "openvino": Format(
        file="model.xml",
        delivered=True,
        blocked=("openvino_telemetry",),
        record="record",
        probe="probe",
        runtime="runtime",
        types="types",
        operations="reading.operations",
        constants="types",
        values="values",
        host="host",
        bundle="bundle",
    ),
    "openvino_blob": Format(
        file="model.blob",
        delivered=True,
        on_device=("model.blob", "model.json"),
        record="record",  # in the IR beside it: a blob has no place for one
        runtime="runtime",
        host="host",
        bundle="blob_bundle",
    ),
    "openvino_stateful": Format(
        file="openvino_model.xml", runtime="generation.stateful", types="types", constants="types"
    ),
    "openvino_generation": Format(
        file="openvino_model.xml",
        delivered=True,
        record="generation.record",
        runtime="generation.stateful",
        types="types",
        operations="reading.operations",
        constants="types",
        generation="generation.folder",
        host="generation.host",
        bundle="generation.bundle",
    ),
    "module": Format(runtime="torch_compile"),
}
