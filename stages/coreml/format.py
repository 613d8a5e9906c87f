"""The kinds of Core ML artifact, and the files here that know about each."""

from __future__ import annotations

from pipeline.formats import Format, Kind

COREML = Kind("coreml")  # Core ML package, of an ML Program
COREML_STATEFUL = Kind("coreml_stateful")  # the package of a decoder that has its cache in states
COREML_GENERATION = Kind("coreml_generation")  # the same, with the files of the model's folder

FORMATS = {
    "coreml": Format(
        file="model.mlpackage",  # itself a folder
        delivered=True,
        native={"coremltools": ("libmilstoragepython", "libmodelpackage")},
        record="record",
        probe="probe",
        runtime="runtime",
        types="types",
        operations="mil.operations",
        constants="types",
        values="values",
        host="host",
        bundle="bundle",
    ),
    "coreml_stateful": Format(file="model.mlpackage", runtime="generation.stateful", types="types", constants="types"),
    "coreml_generation": Format(
        file="model.mlpackage",
        delivered=True,
        record="record",
        runtime="generation.stateful",
        types="types",
        operations="mil.operations",
        constants="types",
        generation="generation.folder",
        host="generation.host",
        bundle="generation.bundle",
    ),
}
