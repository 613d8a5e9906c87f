"""The kind of a TensorRT engine, and the files here that know about it."""

from __future__ import annotations

from pipeline.formats import Format, Kind

TENSORRT = Kind("tensorrt")  # TensorRT engine, native to a GPU

FORMATS = {
    "tensorrt": Format(
        file="model.engine",
        delivered=True,
        record="record",
        probe="probe",
        target="target",
        runtime="runtime",
        layers="layers",
    )
}
