"""The formats of programs that torch captured."""

from __future__ import annotations

from pipeline.formats import Format, Kind

EXPORTED = Kind("exported")  # torch.export.ExportedProgram
TORCHSCRIPT = Kind("torchscript")  # torch.jit.ScriptModule

FORMATS = {
    "exported": Format(file="model.pt2", probe="probe"),
    "torchscript": Format(file="model.pt", probe="probe"),
}
