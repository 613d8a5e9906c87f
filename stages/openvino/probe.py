"""What doctor reads from OpenVINO: its devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _openvino(openvino: Any) -> Mapping[str, Any]:
    """Loads the plugin of every device. The CPU's must load; OpenVINO leaves out others that do not."""
    core = openvino.Core()
    facts = {"CPU": core.get_property("CPU", "FULL_DEVICE_NAME").strip()}
    for device in core.available_devices:
        supported = core.get_property(device, "SUPPORTED_PROPERTIES")
        facts[device] = core.get_property(device, "FULL_DEVICE_NAME").strip()
        if "INFERENCE_PRECISION_HINT" in supported:
            facts[f"{device} computes by default in"] = core.get_property(
                device, "INFERENCE_PRECISION_HINT"
            ).to_string()
        if "OPTIMIZATION_CAPABILITIES" in supported:
            facts[f"{device} is good at"] = sorted(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
    return facts


FACTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {"openvino": _openvino}
