"""What others may ask of OpenVINO: of IRs, of blobs, and of modules, which torch.compile runs with it."""

from __future__ import annotations

from pipeline.formats import Format, Kind

OPENVINO = Kind("openvino")  # OpenVINO IR
OPENVINO_BLOB = Kind("openvino_blob")  # the same, compiled for one device, beside it

FORMATS = {
    "openvino": Format(
        file="model.xml",
        delivered=True,
        blocked=("openvino_telemetry",),
        record="record",
        probe="probe",
        runtime="runtime",
        types="types",
        constants="types",
        values="values",
        host="host",
        bundle="bundle",
    ),
    "openvino_blob": Format(
        file="model.blob",
        delivered=True,
        on_device=("model.blob", "model.json"),
        record="record",  # a blob has no place for one, the IR beside it has
        runtime="runtime",
        host="host",
        bundle="blob_bundle",
    ),
    "module": Format(runtime="torch_compile"),
}
