"""What others may ask of Core ML packages."""

from __future__ import annotations

from pipeline.formats import Format, Kind

COREML = Kind("coreml")  # Core ML package, of an ML Program

FORMATS = {
    "coreml": Format(
        file="model.mlpackage",  # itself a folder
        delivered=True,
        native={"coremltools": ("libmilstoragepython", "libmodelpackage")},
        record="record",
        probe="probe",
        runtime="runtime",
        types="types",
        constants="types",
        values="values",
        host="host",
        bundle="bundle",
    )
}
