"""checking/cause.py: of a check that fails, the operator that was planted is named, with its line and error."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conversions import capture, coreml, edited, export, ir
from coreml_stages import quantize
from harness import backend, module, record, reference_in, run_stage, tolerance
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional

from pipeline.artifact import Artifact, Kind, Origin
from pipeline.errors import CheckFailed
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.checking import cause
from stages.checking.check import Check
from stages.interface.interface import Dim, Input
from stages.onnx.format import ONNX
from stages.openvino.compile_blob import CompileBlob
from stages.openvino.format import OPENVINO

ROWS = {"x": Input(["batch", 16, 8], fill="normal")}
BATCH = {"batch": Dim(1, 2, 4)}
# From what is said: the operator, its line of code, the node, and how far it is off.
DIVERGENCE = re.compile(
    r"diverges first: (?P<operator>[\w.]+).*?(?:: (?P<code>.*))?\n"
    r"        (?P<off>.*?(?P<node>\w+) '[^']+' of the \w+.*)"
)


class Net(nn.Module):
    """Operators that conversions keep as they are, or make several of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.first(x))
        y = functional.gelu(y)
        spread = y.abs().mean(-1, keepdim=True)
        z = (y - spread) / (spread + 0.01)
        z = z.transpose(1, 2)
        z = torch.softmax(z, dim=-1)
        return self.last(z.transpose(1, 2))


LINES = {
    "aten.linear": "y = self.norm(self.first(x))",
    "aten.layer_norm": "y = self.norm(self.first(x))",
    "aten.gelu": "y = functional.gelu(y)",
    "aten.sub": "z = (y - spread) / (spread + 0.01)",
    "aten.add": "z = (y - spread) / (spread + 0.01)",
    "aten.div": "z = (y - spread) / (spread + 0.01)",
    "aten.transpose": "z = z.transpose(1, 2)",
    "aten.softmax": "z = torch.softmax(z, dim=-1)",
}


def with_origins(artifact, *before):
    """An artifact as the runner hands it on: each thing of what it was made of has an origin, too."""
    if artifact.kind == ONNX and [b.kind for b in before] == [Kind.MODULE]:
        before = (Artifact(TORCHSCRIPT), *before)  # of which nobody needs the file
    source = (lambda: with_origins(*before)) if before else None
    stages = {ONNX: "export", TORCHSCRIPT: "capture", EXPORTED: "capture", Kind.MODULE: "load"}
    return replace(artifact, origin=Origin(stages.get(artifact.kind, "compile"), source))


def problem_of(artifact, reference, folder, *, limits="fp32", compute="float32"):
    """The problem of a check that fails."""
    check = Check(compute, {}, [], tolerance(limits), False)
    with pytest.raises(CheckFailed) as caught:
        run_stage(check, {"artifact": artifact, "reference": reference}, folder / "check")
    (problem,) = caught.value.problems
    return problem


def node(model, kind, place=0):
    return [n for n in model.graph.node if n.op_type == kind][place]


def attribute(kind, **values):
    def change(model):
        attributes = node(model, kind).attribute
        for name, value in values.items():
            attributes.remove(next(a for a in attributes if a.name == name))
            attributes.append(helper.make_attribute(name, value))

    return change


def swapped(kind, place=0):
    def change(model):
        operands = node(model, kind, place).input
        operands[0], operands[1] = operands[1], operands[0]

    return change


def dropped(kind, place=0):
    def change(model):
        gone = node(model, kind, place)
        for other in model.graph.node:
            other.input[:] = [gone.input[0] if i == gone.output[0] else i for i in other.input]
        model.graph.node.remove(gone)

    return change


def weight(model):
    tensor = next(t for t in model.graph.initializer if list(t.dims) == [8, 16] or list(t.dims) == [16, 8])
    values = numpy_helper.to_array(tensor).copy()
    values[1, 2] += 0.05
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


# What is planted in an ONNX graph; the operator that is to be named, and the node.
PLANTED = {
    "a wrong axis": (attribute("Softmax", axis=1), "aten.softmax", "Softmax"),
    "another epsilon": (attribute("LayerNormalization", epsilon=0.05), "aten.layer_norm", "LayerNormalization"),
    "swapped operands": (swapped("Sub"), "aten.sub", "Sub"),
    "a dropped constant": (dropped("Add", -2), "aten.add", "Div"),
    "a dropped part of an operator": (dropped("Erf"), "aten.gelu", "Mul"),
    "a changed weight": (weight, "aten.linear", "Add"),
    "a dropped step": (dropped("Abs"), "aten.abs", "ReduceMean"),
    "a wrong order": (attribute("Transpose", perm=[0, 1, 2]), "aten.transpose", "Transpose"),
}


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """By the way of capture, the graph of Net, its module and its reference."""
    by_capture = {}

    def by(how):
        if how not in by_capture:
            folder, net = tmp_path_factory.mktemp(how), module(Net())
            by_capture[how] = export(how, net, folder, inputs=ROWS, dims=BATCH), net, reference_in(folder)
        return by_capture[how]

    return by


@pytest.mark.parametrize("how", ["trace", pytest.param("export", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_in_a_graph_is_named_with_the_models_line(right, how, fault, tmp_path):
    change, operator, kind = PLANTED[fault]
    graph, net, reference = right(how)
    problem = problem_of(with_origins(edited(graph, tmp_path / "planted", change), net), reference, tmp_path)
    match = DIVERGENCE.search(problem.what)
    assert (match["operator"], match["node"]) == (operator, kind), problem.what
    assert match["code"] == LINES.get(operator, "spread = y.abs().mean(-1, keepdim=True)")
    assert re.search(r" is \d\.\de[-+]\d\d off|another order", match["off"])
    assert problem.command == "capture=auto; or other operators at that line of the model"


def planted_in_ir(graph, folder, change):
    """A copy of an IR with something done to it."""
    import openvino

    model = openvino.Core().read_model(graph.file)
    change({op.get_type_name(): op for op in model.get_ordered_ops()})
    folder.mkdir(parents=True)
    openvino.save_model(model, folder / OPENVINO.file, compress_to_fp16=False)
    return replace(graph, folder=folder)


def bypass(kind):
    return lambda ops: ops[kind].output(0).replace(ops[kind].input(0).get_source_output())


def exchange(ops):
    first, second = (ops["Subtract"].input(i) for i in (0, 1))
    sources = first.get_source_output(), second.get_source_output()
    first.replace_source_output(sources[1])
    second.replace_source_output(sources[0])


PLANTED_IN_IR = {
    "a wrong axis": (lambda ops: ops["Softmax"].set_attribute("axis", 1), "aten.softmax", "Softmax"),
    "swapped operands": (exchange, "aten.sub", "Subtract"),
    "another epsilon": (lambda ops: ops["MVN"].set_attribute("eps", 0.05), "aten.layer_norm", "MVN"),
    "a dropped step": (bypass("Gelu"), "aten.gelu", None),
}


@pytest.mark.parametrize("storage", ["float32", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", PLANTED_IN_IR)
def test_a_fault_in_an_ir_is_named_with_the_models_line(right, storage, fault, tmp_path):
    change, operator, kind = PLANTED_IN_IR[fault]
    graph, net, reference = right("trace")
    planted = planted_in_ir(ir(graph, tmp_path / "ir", storage=storage), tmp_path / "planted", change)
    limits = {"float32": "fp32", "float16": "fp16"}[storage]
    problem = problem_of(with_origins(planted, graph, net), reference, tmp_path, limits=limits)
    match = DIVERGENCE.search(problem.what)
    assert (match["operator"], match["code"]) == (operator, LINES[operator]), problem.what
    assert kind in (None, match["node"])
    assert problem.command == "route=auto capture=auto; or other operators at that line of the model"


def planted_in_package(package_, folder, change):
    """A copy of a Core ML package with something done to the operations of its program, by type."""
    from stages.coreml import package

    shutil.copytree(package_.folder, folder)
    file = folder / package_.kind.file / package.MODEL
    spec = package.spec_of(folder / package_.kind.file)
    function = spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    change({o.type: o for o in operations}, {o.outputs[0].name: o for o in operations})
    file.chmod(0o644)
    file.write_bytes(spec.SerializeToString(deterministic=True))
    return replace(package_, folder=folder)


def other_axis(by_type, by_result):
    axis = by_result[by_type["softmax"].inputs["axis"].arguments[0].name].attributes["val"].immediateValue.tensor
    axis.ints.values[0] = 1


def exchanged(by_type, by_result):
    x, y = (by_type["sub"].inputs[n].arguments[0] for n in "xy")
    x.name, y.name = y.name, x.name


def unused(by_type, by_result):
    gone = by_type["gelu"]
    for operation in by_result.values():
        for bound in (b for a in operation.inputs.values() for b in a.arguments):
            bound.name = gone.inputs["x"].arguments[0].name if bound.name == gone.outputs[0].name else bound.name


PLANTED_IN_PACKAGE = {
    "a wrong axis": (other_axis, "aten.softmax", "softmax"),
    "swapped operands": (exchanged, "aten.sub", "sub"),
    "a dropped step": (unused, "aten.gelu", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("how", ["trace", "export"])
def test_a_fault_in_a_core_ml_package_is_named_with_the_models_line(how, precision, tmp_path):
    backend("coremltools")
    net = module(Net())
    program = capture(how, net, tmp_path, inputs=ROWS, dims=BATCH)
    compute = {"fp32": "float32", "fp16": "float16"}[precision]
    converted = coreml(program, tmp_path / "package", compute=compute)
    for fault, (change, operator, kind) in PLANTED_IN_PACKAGE.items():
        folder = tmp_path / fault
        planted = with_origins(planted_in_package(converted, folder / "planted", change), program, net)
        problem = problem_of(planted, reference_in(tmp_path), folder, limits=precision, compute=compute)
        match = DIVERGENCE.search(problem.what)
        assert (match["operator"], match["code"]) == (operator, LINES[operator]), problem.what
        assert kind in (None, match["node"])
        assert ("a higher precision" in problem.command) == (precision == "fp16")


class Long(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(x)
        y = y.reshape(x.shape[0], -1, 4, 2)
        return self.last(y.flatten(2))


def test_a_node_that_cannot_be_computed_at_a_size_is_named(tmp_path):
    net = module(Long())
    sizes = {"inputs": {"x": Input(["batch", "t", 8], fill="normal")}, "dims": {**BATCH, "t": Dim(2, 4, 9)}}
    graph = export("trace", net, tmp_path, **sizes)

    def freeze(model):
        first = node(model, "Reshape")
        name = "frozen"
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 4, 4, 2]), name))
        first.input[1] = name

    problem = problem_of(
        with_origins(edited(graph, tmp_path / "planted", freeze), net), reference_in(tmp_path), tmp_path
    )
    assert "cannot be run at 1x2x8" in problem.what
    assert "\n    diverges first: aten.reshape, at " in problem.what
    assert re.search(r"\n        Reshape '\S+' of the onnx cannot be computed$", problem.what)


class Writes(nn.Module):
    """Writes into a view, which a conversion may take for a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.first(x)
        part = y[..., 0]
        part.mul_(3.0)
        return self.last(y), part


def test_what_is_written_into_a_view_and_lost_is_named_by_what_writes_it(tmp_path):
    net = module(Writes())
    graph = export("trace", net, tmp_path, inputs=ROWS, dims=BATCH)

    def lose(model):  # the product goes on with the values before it was written
        node(model, "MatMul", 1).input[0] = node(model, "Add").output[0]

    problem = problem_of(with_origins(edited(graph, tmp_path / "planted", lose), net), reference_in(tmp_path), tmp_path)
    assert "diverges first: aten.mul_, at" in problem.what
    assert "in forward: part.mul_(3.0)\n" in problem.what
    assert problem.command.startswith("in the model, torch.where or torch.cat")


def test_where_the_model_is_a_graph_its_own_node_is_named(right, tmp_path):
    graph, _, _ = right("trace")
    of_graph = record(replace(graph, facts={**graph.facts}), tmp_path / "reference", inputs=None, dims={})
    planted = edited(graph, tmp_path / "planted", swapped("Sub"))
    problem = problem_of(
        replace(planted, origin=Origin("simplify", lambda: replace(graph, origin=Origin("load", None)))),
        of_graph,
        tmp_path,
    )
    assert "\n    diverges first: Sub '/model/Sub'\n" in problem.what
    assert problem.command == "'~stages.simplify'"


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        (None, "there is no module and no graph of the model to compare it with"),
        (Origin("export", lambda: 1 / 0), "it cannot be looked for: division by zero"),
    ],
)
def test_what_cannot_be_looked_for_hides_nothing(right, origin, why, tmp_path):
    graph, _, reference = right("trace")
    planted = replace(edited(graph, tmp_path / "planted", swapped("Sub")), origin=origin)
    problem = problem_of(planted, reference, tmp_path)
    assert "output 'output' max_rel" in problem.what
    assert problem.what.endswith(f"\n    the operator that diverges first is not known: {why}")
    assert problem.command == "capture=auto"


def test_values_that_take_too_much_memory_are_not_compared_and_that_is_said(right, tmp_path, monkeypatch):
    graph, net, reference = right("trace")
    monkeypatch.setattr(cause.divergence, "MOST_BYTES", 2**10)
    planted = with_origins(edited(graph, tmp_path / "planted", swapped("Sub")), net)
    assert "the values inside the model take more than 0 GiB" in problem_of(planted, reference, tmp_path).what


def test_where_the_values_agree_and_the_outputs_are_called_otherwise_that_is_said(right, tmp_path):
    graph, net, reference = right("trace")

    def rename(model):
        model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"

    problem = problem_of(with_origins(edited(graph, tmp_path / "planted", rename), net), reference, tmp_path)
    assert problem.what.endswith("every value inside it agrees; its outputs are called, shaped or typed otherwise")


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Linear(16, 48), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.into(x)[:, None].chunk(3, -1)
        return self.out(functional.scaled_dot_product_attention(query, key, value)[:, 0])


def test_an_answer_that_is_wrong_only_after_another_request_is_told_as_that(tmp_path):
    """OpenVINO 2026.4's CPU computes attention without a mask from what is left of a first request of length 1."""
    net = module(Attending())
    sizes = {"inputs": {"x": Input(["batch", "t", 16], fill="normal")}, "dims": {**BATCH, "t": Dim(1, 8, 32)}}
    program = capture("trace", net, tmp_path, **sizes)

    def without_a_mask(ops):
        from openvino import opset13

        old = ops["ScaledDotProductAttention"]
        new = opset13.scaled_dot_product_attention(*[i.get_source_output() for i in old.inputs()[:3]])
        old.output(0).replace(new.output(0))

    planted = planted_in_ir(ir(program, tmp_path / "ir"), tmp_path / "planted", without_a_mask)
    problem = problem_of(with_origins(planted, program, net), reference_in(tmp_path), tmp_path)
    assert "it is right at " in problem.what
    assert "what the runtime keeps from one request changes the next" in problem.what
    assert problem.command.startswith("route=auto capture=auto; or another version of its runtime")


@pytest.mark.slow
def test_of_a_blob_the_values_of_the_ir_that_it_was_compiled_from_are_looked_at(right, tmp_path):
    graph, net, reference = right("trace")
    planted = planted_in_ir(ir(graph, tmp_path / "ir"), tmp_path / "planted", exchange)
    blob = run_stage(CompileBlob("CPU", "float32", {}, []), planted, tmp_path / "blob")
    problem = problem_of(with_origins(blob, planted, graph, net), reference, tmp_path)
    match = DIVERGENCE.search(problem.what)
    assert (match["operator"], match["node"]) == ("aten.sub", "Subtract")
    assert "of the openvino" in match["off"]


@pytest.mark.slow
def test_of_a_module_run_by_torch_compile_it_is_said_that_operators_cannot_be_told_apart(right, tmp_path):
    reference = right("trace")[2]
    other = Net()
    other.last.bias.data += 1
    problem = problem_of(with_origins(module(other)), reference, tmp_path)
    assert "what torch.compile makes of a module has no values that can be asked for" in problem.what
    assert problem.command.startswith("target=openvino without also=torch_compile")


@pytest.mark.slow
def test_layers_of_a_core_ml_package_that_fewer_bits_break_are_named_by_name(tmp_path):
    backend("coremltools")
    program = capture("trace", module(Net()), tmp_path, inputs=ROWS, dims=BATCH)
    package = coreml(program, tmp_path / "package")
    low = run_stage(quantize(granularity="per_tensor"), package, tmp_path / "low")
    lowered = replace(low, origin=Origin("quantize", lambda: package))
    problem = problem_of(lowered, reference_in(tmp_path), tmp_path)  # as no 8 bits agree
    assert "brought in by" in problem.what
    assert "stages.quantize.ignored.names=[" in problem.command


class Model(nn.Module):
    """A layer, a line that some conversion gets wrong, and a layer."""

    def __init__(self, line) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.line = nn.Linear(8, 8), nn.Linear(8, 8), line

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.line(self.first(x)))


# Conversions to OpenVINO by a trace that are wrong in the pinned versions: the line, the operator, and in whose words.
WRONG = {
    "antialiasing": (
        lambda y: functional.interpolate(y[:, None], scale_factor=(0.4, 1.0), mode="bilinear", antialias=True)[:, 0],
        *("aten._upsample_bilinear2d_aa", "antialias=False"),
    ),
    "rounding to a decimal": (
        lambda y: torch.round(y, decimals=1),
        *("aten.round", "torch.round(x * 10 ** n)"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_a_conversion_that_is_wrong_today_is_named(case, tmp_path):
    line, operator, words = WRONG[case]
    net = module(Model(line))
    program = capture("trace", net, tmp_path, inputs=ROWS, dims=BATCH)
    artifact = with_origins(ir(program, tmp_path / "ir"), program, net)
    problem = problem_of(artifact, reference_in(tmp_path), tmp_path)
    assert DIVERGENCE.search(problem.what)["operator"] == operator, problem.what
    assert words in problem.command
