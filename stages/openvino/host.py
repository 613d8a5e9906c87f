"""Checks a model on the device that it was delivered to, against the recorded outputs of the original.

    python selfcheck.py                        with the settings of its check before delivery
    python selfcheck.py --compute default      with the runtime's default precision, as an application without settings
    python selfcheck.py --runs 200 --threads 2

It needs Python 3.10 or later, numpy and openvino. It reads artifact.json and reference.npz beside itself.
Exit codes: 0 it agrees, 2 wrong usage, 3 it cannot run, 4 the runtime or numpy is not installed, 5 it does not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.portable.handed_over import CANNOT_RUN, Stop, failed
from stages.portable.selfcheck import DEFAULT, RECORDED, Running, Runtime, main
from stages.portable.vendor_errors import first_line

HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
PRECISION = "INFERENCE_PRECISION_HINT"
# Keeps OpenVINO from sending usage data: the import of its telemetry fails.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def _load(
    openvino: Any, path: Path, record: Mapping[str, Any], claim: Mapping[str, Any], arguments: argparse.Namespace
) -> Running:
    core = openvino.Core()
    if arguments.extension:
        core.add_extension(str(arguments.extension))
    ties = record["facts"].get("blob", {})
    device = arguments.device or ties.get("device", "CPU")
    if device.partition(".")[0] not in {d.partition(".")[0] for d in core.available_devices}:
        raise Stop(CANNOT_RUN, f"OpenVINO finds no {device} here\n  it finds: {', '.join(core.available_devices)}")
    settings = _settings({**ties.get("properties", {}), **claim["properties"]}, claim["compute"], arguments)
    name = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
    if record["kind"] == "openvino_blob":
        try:
            model = core.import_model(path.read_bytes(), device, settings)
        except Exception as e:  # a plugin raises anything
            origin = f"OpenVINO {ties['openvino']} for {ties['device']} '{ties['device_name']}', {ties['requirements']}"
            raise Stop(
                CANNOT_RUN,
                f"this blob does not fit: {first_line(e)}\n  it was made by {origin}\n  this is OpenVINO "
                f"{openvino.get_version()} on {device} '{name}'\n  the .xml beside it runs anywhere",
            ) from e
    else:
        model = core.compile_model(path, device, settings)
    for setting, value in settings.items():
        actual = _text(model.get_property(setting))
        if setting != PRECISION and actual.casefold() != _text(value).casefold():
            raise failed([f"{setting} was asked for as {value}, OpenVINO set it to {actual}"])
    hint = _text(model.get_property(PRECISION))

    # A plugin merges an output with the value it equals, and their names: pick the name in the record.
    ours = {o["name"] for o in record["facts"].get("interface", {}).get("outputs", ())}
    names = [next((n for n in port.get_names() if n in ours), port.any_name) for port in model.outputs]

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        returned = model(dict(inputs))
        return {name: returned[port] for name, port in zip(names, model.outputs, strict=True)}

    def prepare(inputs: Mapping[str, Any]) -> Callable[[], object]:
        request = model.create_infer_request()
        for port, value in inputs.items():
            tensor = openvino.Tensor(value.dtype, value.shape)  # its own memory, with the alignment it prefers
            tensor.data[...] = value
            request.set_tensor(port, tensor)
        return lambda: request.infer(share_outputs=True)

    computes_in = {v: k for k, v in HINTS.items()}.get(hint, hint)
    return Running(run, prepare, computes_in, f"openvino {openvino.get_version()} on {device} '{name}'")


def _settings(recorded: Mapping[str, str], compute: str, arguments: argparse.Namespace) -> dict[str, str]:
    """The properties to load the model with."""
    threads = {"INFERENCE_NUM_THREADS": str(arguments.threads), "NUM_STREAMS": "1"} if arguments.threads else {}
    if arguments.compute == DEFAULT:
        return threads
    return {**recorded, PRECISION: HINTS[compute if arguments.compute == RECORDED else arguments.compute], **threads}


def _text(value: Any) -> str:
    """A property's value in the form that sets it: f32, ACCURACY, YES, 2."""
    if hasattr(value, "to_string"):  # an element type
        return str(value.to_string())
    text = str(getattr(value, "name", value))
    return {"true": "YES", "false": "NO"}.get(text.casefold(), text)


RUNTIME = Runtime("openvino", {"openvino": ".xml", "openvino_blob": ".blob"}, _load)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
