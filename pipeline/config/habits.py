"""What people type who come from other tools, with what it is called here."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

# Keys of other tools, and flags without their dashes.
KEYS = {
    "arch": "model",
    "architecture": "model",
    "backend": "target",
    "ckpt": "model.weights",
    "checkpoint": "model.weights",
    "checkpoint_path": "model.weights",
    "dst": "output",
    "dtype": "precision",
    "format": "target",
    "net": "model",
    "network": "model",
    "o": "output",
    "opset_version": "opset",
    "out": "output",
    "outdir": "output",
    "output_dir": "output",
    "output_path": "output",
    "pretrained": "model.weights",
    "quantization": "precision",
    "quantize": "precision",
    "to": "target",
    "weight": "model.weights",
}
# Flags of other tools that take no value, with all that stands for them.
FLAGS = {
    "bf16": "precision=bf16",
    "debug": "hydra.verbose=true",
    "dry": "plan=true",
    "dry_run": "plan=true",
    "dryrun": "plan=true",
    "fp16": "precision=fp16",
    "half": "precision=fp16",
    "help_all": "--help",
    "int4": "precision=int4_weights",
    "int8": "precision=int8",
    "n": "plan=true",
    "usage": "--help",
    "v": "hydra.verbose=true",
    "verbose": "hydra.verbose=true",
}
# What is listed by --help: `--list-models`, `list`, `models`.
LISTS = re.compile(r"(list|ls|show|models?|targets|precisions|options|choices)(_\w+)?")
# Options by other names, by group.
OPTIONS = {
    "precision": {
        "16": "fp16",
        "32": "fp32",
        "4": "int4_weights",
        "8": "int8",
        "bfloat16": "bf16",
        "float16": "fp16",
        "float32": "fp32",
        "half": "fp16",
        "int4": "int4_weights",
        "w4a16": "int4_weights",
        "w8a16": "int8_weights",
        "w8a8": "int8",
    },
    "target": {
        "engine": "tensorrt",
        "ir": "openvino",
        "mlmodel": "coreml",
        "mlpackage": "coreml",
        "onnxruntime": "onnx",
        "ort": "onnx",
        "ov": "openvino",
        "trt": "tensorrt",
    },
    "capture": {"dynamo": "export", "jit": "trace", "torchscript": "trace", "torch_export": "export"},
}
# Where a library keeps the builders of its models, and which model= takes those by name.
LIBRARIES = {
    "torchvision/models": "torchvision",
    "torchvision/models/segmentation": "torchvision_segmentation",
    "torchvision/models/detection": "torchvision_detection",
    "torchvision/models/video": "torchvision_video",
    "torchvision/models/optical_flow": "torchvision_flow",
    "timm/models": "timm",
}
BUILDER = re.compile(r"^@register_model.*?^def (\w+)\(", re.DOTALL | re.MULTILINE)


def model(named: str) -> list[str] | None:
    """What to type for a model that is no option, such as a name of torchvision's; None where none is like it.

    Args:
        named: What stood after `model=`.
    """
    suffix = Path(named).suffix
    if suffix == ".onnx":
        return ["model=onnx_file", f"model.weights={named}"]
    if suffix in (".tflite", ".pb", ".pdmodel"):
        return ["model=file", f"model.path={named}"]
    if suffix == ".pt2":
        return ["model=module_file", f"model.weights={named}"]
    if suffix in (".pth", ".pt", ".safetensors", ".ckpt", ".bin"):
        return ["model=custom", "model.factory=my_pkg.net.Net", f"model.weights={named}"]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", named):
        return ["model=transformers", "model.factory=transformers.AutoModel", f"model.weights={named}"]
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\.[A-Z]\w*", named):
        return ["model=custom", f"model.factory={named}", "model.weights=random"]
    known = dict(reversed([*_library_models()]))  # the first that has a name
    tag = named.lower().replace("-", "_")
    if near := difflib.get_close_matches(tag.partition(".")[0], known, n=1, cutoff=0.85):
        yaml = known[near[0]]
        full = tag if yaml == "timm" and tag.startswith(f"{near[0]}.") else near[0]
        return [f"model={yaml}", f"model.name={full}"]
    return None


def _library_models() -> Iterator[tuple[str, str]]:
    """Each model that an installed library knows by name, with the option of `model` that takes it.

    Read off the libraries' sources, and nothing is imported.
    """
    for place, yaml in LIBRARIES.items():
        library, _, below = place.partition("/")
        spec = importlib.util.find_spec(library)
        for root in (spec and spec.submodule_search_locations) or ():
            for file in sorted((Path(root) / below).glob("*.py")):
                yield from ((name, yaml) for name in BUILDER.findall(file.read_text(encoding="utf-8")))
