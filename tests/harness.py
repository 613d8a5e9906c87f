"""Runs one stage without the runner, and models small enough to be made in code."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from pipeline.artifact import Artifact, Kind, Origin, carried
from pipeline.machine.world import ThisMachine
from pipeline.stage import Stage
from stages.capture.capture_export import CaptureExport
from stages.capture.capture_script import CaptureScript
from stages.capture.capture_trace import CaptureTrace
from stages.checking.check import Check
from stages.coreml.compile_coreml import CompileCoreml
from stages.coreml.package import Metadata
from stages.formats.ignored import Ignored
from stages.interface.edits import NOTHING, Edits
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input
from stages.loading.open_file import OpenFile
from stages.onnx import file as onnx_file
from stages.onnx.export_auto import ExportAuto
from stages.onnx.export_onnx import ExportOnnx
from stages.onnx.export_torchscript import ExportTorchscript
from stages.openvino.compile_openvino import CompileOpenvino
from stages.portable.comparison import Tolerance
from stages.quantization.compress_weights import CompressWeights
from stages.quantization.quantize import Quantize
from stages.reference.record_reference import RecordReference

CONF = Path(__file__).parents[1] / "conf"
FILES = Path(__file__).parent / "files"  # small files of other frameworks; see its README

IMAGE = {"input": Input(["batch", 3, 32, 32])}
TOKENS = {"tokens": Input(["batch", "seq", 8], fill="normal")}
VECTOR = {"input": Input(["batch", 4], fill="normal")}
BATCH = {"batch": Dim(1, 2, 8)}
NOTHING_IGNORED = Ignored([], [], [])
BATCH_SEQ = {"batch": Dim(1, 2, 8), "seq": Dim(2, 4, 16)}


_RECORDED: dict[Path, Artifact] = {}


def run_stage(stage: Stage, inputs: Artifact | Mapping[str, Artifact], folder: Path) -> Artifact:
    """What the runner does about one stage, and what it takes for granted, asserted.

    Args:
        stage: The stage.
        inputs: Port name to artifact, or the first port's alone.
        folder: Where the result goes; made here. Its files are read-only afterwards, as the store's are.
    """
    assert stage.problems() == []
    given = {next(iter(stage.ports())): inputs} if isinstance(inputs, Artifact) else dict(inputs)
    assert all(a.kind in stage.ports()[port] for port, a in given.items())
    assert stage.ports().keys() - stage.optional <= given.keys()
    before = {port: contents(a.folder) for port, a in given.items()}
    folder.mkdir(parents=True)
    made = stage.run(given, folder)
    assert {port: contents(a.folder) for port, a in given.items()} == before, "a stage wrote into its input's folder"
    assert made.kind is stage.makes({port: a.kind for port, a in given.items()})
    primary = next(iter(given.values()), None)
    made = replace(made, facts=carried(primary.facts if primary else {}, made.facts))
    for plain in (made.facts, made.notes):
        assert json.loads(json.dumps(plain)) == plain, "facts and notes are plain JSON"
    for path in folder.rglob("*"):
        path.chmod(0o444)
    return made


def contents(folder: Path | None) -> dict[str, str]:
    """The SHA-256 of every file under a folder, by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder else []
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}  # type: ignore[arg-type]


def archived(path: Path) -> dict[str, bytes]:
    """The entries of a file that torch wrote, by their names in it."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def tells_where(path: Path) -> list[str]:
    """The entries of a file that torch wrote which hold a path of this machine."""
    folders = [str(place).encode() for place in (sys.prefix, sys.base_prefix, Path.cwd(), Path(__file__).parent)]
    return [name for name, held in archived(path).items() if any(folder in held for folder in folders)]


def backend(name: str) -> None:
    """Skips the test when a back end is not installed; fails it when REQUIRE names that back end."""
    if importlib.util.find_spec(name) is None:
        (pytest.fail if name in os.environ.get("REQUIRE", "").split(",") else pytest.skip)(f"{name} is not installed")


def skip_unless_bfloat16() -> None:
    """Skips the test on a CPU that OpenVINO does not compute in bfloat16 on."""
    backend("openvino")
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bfloat16")


def world(folder: Path) -> ThisMachine:
    """The world of a plan: it hashes files, but downloads nothing."""
    return ThisMachine(folder / "facts", may_fetch=False)


def tolerance(precision: str) -> Tolerance:
    """The tolerance that ships for a precision: a test with it proves the numbers that users get."""
    return Tolerance(**OmegaConf.to_container(OmegaConf.load(CONF / "tolerance" / f"{precision}.yaml")))  # type: ignore[arg-type]


def module(net: nn.Module) -> Artifact:
    """A module as `set_eval` hands it on."""
    return Artifact(Kind.MODULE, live=net.eval().requires_grad_(False))


def record(
    net: nn.Module | Artifact,
    folder: Path,
    *,
    inputs: Mapping[str, Input] | None = IMAGE,
    dims: Mapping[str, Dim] = BATCH,
    outputs: Any = None,
    call: Any = None,
    seed: int = 0,
) -> Artifact:
    """The reference of a module, or of an artifact that stands for one."""
    asked = net if isinstance(net, Artifact) else module(net)
    stage = RecordReference(inputs and dict(inputs), dict(dims), outputs, call, None, False, None, [], seed)
    _RECORDED[folder] = run_stage(stage, asked, folder)
    return _RECORDED[folder]


def opened(
    path: Path,
    folder: Path,
    *,
    sha256: str | None = None,
    names: Mapping[str, str] | None = None,
    inputs: Mapping[str, Input] | None = None,
    dims: Mapping[str, Dim] = BATCH,
) -> Artifact:
    """A file of another framework, opened as it is, in `folder`/opened."""
    stage = OpenFile(str(path), sha256, dict(names or {}), inputs and dict(inputs), dict(dims), []).settle(
        world(folder)
    )
    return run_stage(stage, {}, folder / "opened")


def capture(how: str, net: nn.Module | Artifact, folder: Path, **interface: Any) -> Artifact:
    """A module captured by export, trace or script, with its reference in `folder`/reference."""
    stage = {"export": CaptureExport(2**30), "trace": CaptureTrace(), "script": CaptureScript()}[how]
    reference = record(net, folder / "reference", **interface)
    given = {"module": net if isinstance(net, Artifact) else module(net), "reference": reference}
    return run_stage(stage, given, folder / how)


def export(how: str, net: nn.Module | Artifact, folder: Path, *, opset: int = 18, **interface: Any) -> Artifact:
    """The ONNX graph of a module by way of a capture, or by auto, with its reference in `folder`/reference."""
    if how == "auto":
        reference = record(net, folder / "reference", **interface)
        given = {"module": net if isinstance(net, Artifact) else module(net), "reference": reference}
        return run_stage(ExportAuto(opset, {}, {}, False, tolerance("fp32")), given, folder / "graph")
    program = capture(how, net, folder, **interface)
    if how == "export":
        return run_stage(ExportOnnx(opset, {}, False), program, folder / "graph")
    given = {"program": program, "reference": reference_in(folder)}
    return run_stage(ExportTorchscript(opset, {}, False), given, folder / "graph")


def ir(
    program: Artifact,
    folder: Path,
    *,
    storage: str = "float32",
    preprocessing: Preprocessing | None = None,
    extensions: Sequence[str] = (),
    **edits: Any,
) -> Artifact:
    """The OpenVINO IR of a captured program, an ONNX graph or a file, with edits to its interface."""
    stage = CompileOpenvino(storage, Edits(**{**vars(NOTHING), **edits}), preprocessing, list(extensions))
    return run_stage(stage, program, folder)


def coreml(program: Artifact, folder: Path, *, target: str = "iOS18", compute: str = "float32") -> Artifact:
    """The Core ML package of a captured program."""
    unchanged = Edits(**vars(NOTHING))
    metadata = Metadata(None, None, None, None, {}, {})
    stage = CompileCoreml(
        target, compute, NOTHING_IGNORED, "ALL", "range", None, unchanged, None, False, None, metadata
    )
    return run_stage(stage, program, folder)


def reference_in(folder: Path) -> Artifact:
    """The reference that `capture` and `export` recorded on their way."""
    return _RECORDED[folder / "reference"]


def agrees(graph: Artifact, folder: Path) -> None:
    """Checks a graph with the tolerances that ship, against the reference that was recorded in `folder`."""
    check = Check("float32", {}, [], tolerance("fp32"), False)
    run_stage(check, {"artifact": graph, "reference": reference_in(folder)}, folder / "check")


def edited(graph: Artifact, folder: Path, change: Callable[[onnx.ModelProto], Any]) -> Artifact:
    """A copy of an ONNX artifact with something done to it."""
    model = onnx_file.read(graph.file)
    change(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    return replace(graph, folder=folder)


def quantized(graph: Artifact, samples: Artifact, folder: Path, **settings: Any) -> Artifact:
    """A graph in int8, as the stage makes it by default."""
    defaults = {"preset": None, "model_type": None, "target_device": "ANY", "fast_bias_correction": True}
    defaults |= {"symmetric": False, "ignored": NOTHING_IGNORED, "extensions": [], "graph_opset": None}
    stage = Quantize(**{**defaults, **settings})
    return run_stage(stage, {"graph": graph, "samples": samples}, folder)


def compressed(graph: Artifact, folder: Path, *, samples: Artifact | None = None, **settings: Any) -> Artifact:
    """A graph with weights in 8 bits, or as it is asked for."""
    given = {"graph": graph, **({"samples": samples} if samples else {})}
    return run_stage(compress_weights(**settings), given, folder)


def compress_weights(**settings: Any) -> CompressWeights:
    """The stage: 8 bits, or what precision=int4_weights has; any setting otherwise."""
    four = str(settings.get("mode", "")).startswith("int4")
    blocks = {"group_size": 64, "ratio": 1.0, "all_layers": False}
    defaults = {"mode": "int8_asym", **(blocks if four else dict.fromkeys(blocks)), "awq": False}
    defaults |= {"scale_estimation": False, "ignored": NOTHING_IGNORED, "extensions": [], "graph_opset": None}
    return CompressWeights(**{**defaults, **settings})


def made_of(artifact: Artifact, source: Artifact, stage: str = "quantize") -> Artifact:
    """An artifact as the runner hands it to a stage: with where it comes from."""
    return replace(artifact, origin=Origin(stage, lambda: source))


def provenance(artifact: Artifact) -> dict[str, Any]:
    """What an artifact's own file says of it."""
    if artifact.kind is Kind.ONNX:
        held = onnx.load(artifact.file, load_external_data=False).metadata_props
        told = {p.key.removeprefix("drydock."): p.value for p in held}
    else:
        import openvino

        found = openvino.Core().read_model(artifact.file).get_rt_info("drydock")
        told = dict(found.value)
    return {name: json.loads(text) if text[:1] in "[{" else text for name, text in told.items()}


def ports(artifact: Artifact) -> dict[str, str]:
    """The inputs and outputs of an artifact's file: type and shape by name."""
    if artifact.kind is Kind.ONNX:
        graph = onnx.load(artifact.file, load_external_data=False).graph
        told = {p.name: p.type.tensor_type for p in (*graph.input, *graph.output)}
        sizes = {name: [d.dim_param or d.dim_value for d in t.shape.dim] for name, t in told.items()}
        return {name: f"{t.elem_type}{sizes[name]}" for name, t in told.items()}
    import openvino

    model = openvino.Core().read_model(artifact.file)
    return {p.any_name: f"{p.element_type.to_string()}{p.partial_shape}" for p in (*model.inputs, *model.outputs)}


class TinyConv(nn.Module):
    """Convolution, batch norm, ReLU, mean, linear: 10 logits for an image."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes is {classes}")
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, classes)
        # Statistics as after some training: with 0 and 1 a norm that was dropped on the way would go unnoticed.
        self.norm.running_mean = torch.linspace(-0.2, 0.2, 4)
        self.norm.running_var = torch.linspace(0.5, 2.0, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class TwoOutputs(TinyConv):
    """Logits and the features that they come from."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.norm(self.conv(x)).relu()
        return self.head(features.mean((2, 3))), features


class FixedBatch(nn.Module):
    """Works for a batch of two and for no other."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(2, 4))


class FrozenBatch(FixedBatch):
    """Works for every batch, but a capture freezes the one that it is shown."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(int(x.shape[0]), -1))


class ValueBranch(FixedBatch):
    """Takes one of two ways, depending on the values it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) if x.sum() > 0 else -self.head(x)


class GraphBranch(FixedBatch):
    """The same with torch.cond, which a graph can hold: its two ways are subgraphs of a node."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda v: self.head(v), lambda v: -self.head(v), (x,))


class Attention(nn.Module):
    """An encoder layer, whose fast path is one fused operator in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class WritesIntoItsInput(FixedBatch):
    """Normalises in place, as many a model's first line does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.sub_(0.5).div_(0.25))


class Dies(FixedBatch):
    """Ends its process when it is asked, as a crash in native code would, with a word to stderr."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        os.write(2, b"no more memory for the likes of you\n")
        os._exit(3)


class Chatty(FixedBatch):
    """Says something to stdout, from Python and from below it, whenever it is asked."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("hello")
        os.write(1, b"hello\n")
        return self.head(x)


class Unpicklable(FixedBatch):
    """Holds what no pickle can."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda x: x.relu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.head(x))


class Bessel(FixedBatch):
    """Ends with an operator that no translation of torch's graphs to OpenVINO has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(self.head(x))


def worse_each_time(outputs: Any, labels: Any, seen: list[int] = [100]) -> float:  # noqa: B006
    """A metric that says less whenever it is asked, whatever the answers are."""
    seen[0] -= 1
    return float(seen[0])


def top1_of_many(outputs: Any, labels: Any) -> float:
    """A metric that takes more than one sample, as one over classes does."""
    if len(labels) < 2:
        raise ValueError("one sample is not many")
    return float((outputs["scores"].argmax(1) == labels).mean())


def not_a_module() -> dict[str, int]:
    """A factory that returns something else."""
    return {}


class Canary:
    """Pickled, it makes a file when it is loaded by anything that runs what a pickle asks for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)
