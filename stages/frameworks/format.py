"""The format of model files of other frameworks; a compiler reads them itself."""

from __future__ import annotations

from pipeline.formats import Format, Kind

FILE = Kind("file")

FORMATS = {"file": Format(model="model")}
