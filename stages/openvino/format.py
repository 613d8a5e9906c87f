"""What others may ask of OpenVINO: of IRs, of blobs, and of modules, which torch.compile runs with it."""

from __future__ import annotations

from stages.formats.registry import Format

FORMATS = {
    "openvino": Format(runtime="runtime", types="types", values="values"),
    "openvino_blob": Format(runtime="runtime"),
    "module": Format(runtime="torch_compile"),
}
