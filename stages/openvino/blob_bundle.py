"""What the README of a bundle says about an OpenVINO blob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.openvino import bundle
from stages.openvino.blob import Ties

LOADING = """\
from pathlib import Path

import numpy as np
import openvino

model = openvino.Core().import_model(Path("{file}").read_bytes(), "{device}", {settings})
returned = model({inputs})
outputs = {{name: returned[name] for name in {names}}}
"""


class Bundle(bundle.Bundle):
    """See `stages.delivery.bundle.Bundle`."""

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        ties = facts["blob"]
        settings = bundle.settings(claim, **ties["properties"])
        return LOADING.format(file=file, inputs=inputs, names=names, device=ties["device"], settings=settings)

    @staticmethod
    def only_for(facts: Mapping[str, Any]) -> str:
        return str(Ties(**facts["blob"]))
