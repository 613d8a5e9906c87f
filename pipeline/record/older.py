"""Records of earlier schemas, in today's form.

Schema 1 named a stage by the dotted path of its class and a version that people raised, and no source files. Its paths
were `stages.FILE.Class`; a name is read from the class, so no table of places is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.code.names import is_ours
from pipeline.stage import snake_case

KNOWN = 1
# Settings that stages have since, by the name of the stage, with what they were before there was a choice.
SINCE: Mapping[str, Mapping[str, Any]] = {
    "record_reference": {"effort": "quick", "samples": None, "count": 16},
    "load_transformers": {"picture": None, "detections": False},
    "set_eval": {"part": None},
}
# Stages whose results are stored in another form since, without a pickle: the same ones have another digest.
STORED_OTHERWISE = ("capture_export", "capture_by_opset")


def in_todays_form(record: Mapping[str, Any], schema: int) -> dict[str, Any]:
    """A record of schema 1 or of today's, as one of today's. `sources` is empty where nothing is known of them.

    Args:
        record: As it was read; nothing is known of its parts yet but its schema.
        schema: Today's.
    """
    if record["schema"] != KNOWN:
        return dict(record)
    stages = [_stage(s) for s in record["stages"]]
    parts = {name: part for name, part in record.items() if name != "stages"}
    return {**parts, "schema": schema, "sources": {}, "stages": stages}


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    path = str(stage["stage"])
    rest = {name: part for name, part in stage.items() if name not in ("name", "stage", "version")}
    identity = {"name": stage["name"], "stage": snake_case(path.rpartition(".")[2])}
    if identity["stage"] in STORED_OTHERWISE:
        rest.pop("digest", None)
    return identity | rest if is_ours(path) else {**identity, "class": path} | rest
