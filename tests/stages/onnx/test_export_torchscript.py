"""onnx/export_torchscript.py, with our own symbolic function of stages/onnx/exporting/translations.py."""

from __future__ import annotations

import onnx
import pytest
import torch
from conversions import agrees
from conversions import export as export_by
from harness import BATCH_SEQ, TOKENS, VECTOR, contents, run_stage
from nets import Attention, FrozenBatch, TwoOutputs, ValueBranch
from torch import nn

from pipeline.errors import CheckFailed
from stages.capture.capture_trace import CaptureTrace
from stages.capture.opsets import TORCHSCRIPT
from stages.interface.interface import Dim, Input
from stages.onnx.export_torchscript import ExportTorchscript
from stages.onnx.exporting import translations


@pytest.fixture
def export(reference, tmp_path):
    """Exports a program of the tiny model."""

    def run(program, name="out", opset=17):
        stage = ExportTorchscript(opset, {}, False)
        return run_stage(stage, {"program": program, "reference": reference}, tmp_path / name)

    return run


def export_net(net, folder, *, how="trace", opset=17, **interface):
    return export_by(how, net, folder, opset=opset, **interface)


def shapes(ports):
    return {p.name: [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim] for p in ports}


@pytest.mark.parametrize("opset", [TORCHSCRIPT.start, 9, 11, 17, TORCHSCRIPT.stop - 1])
@pytest.mark.parametrize("how", ["trace", "script"])
def test_the_file_has_the_opset_that_was_asked_for_and_answers_as_the_model(tmp_path, how, opset):
    graph = export_net(TwoOutputs(), tmp_path, how=how, opset=opset)
    assert [o.version for o in onnx.load(graph.file).opset_import if o.domain == ""] == [opset]
    assert graph.facts["opset"] == opset
    agrees(graph, tmp_path)


def test_names_and_dynamic_dimensions_are_as_asked(traced, export):
    model = onnx.load(export(traced).file)
    assert shapes(model.graph.input) == {"input": ["batch", 3, 32, 32]}
    assert shapes(model.graph.output) == {"logits": ["batch", 10]}


@pytest.mark.parametrize("how", ["trace", "script"])
def test_several_outputs_keep_their_names_and_fixed_sizes(tmp_path, how):
    graph = export_net(TwoOutputs(), tmp_path, how=how, outputs=["logits", "features"])
    assert shapes(onnx.load(graph.file).graph.output) == {"logits": ["batch", 10], "features": ["batch", 4, 32, 32]}


@pytest.mark.parametrize("opset", [14, 17])
def test_attention_is_exported_for_every_batch_and_length(tmp_path, opset):
    graph = export_net(Attention(), tmp_path, opset=opset, inputs=TOKENS, dims=BATCH_SEQ, outputs=["encoded"])
    assert shapes(onnx.load(graph.file).graph.output) == {"encoded": ["batch", "seq", 8]}
    agrees(graph, tmp_path)


class Pooled(nn.Module):
    def forward(self, x):
        return x.mean(0)


def test_an_output_whose_size_depends_on_no_input_stays_fixed(tmp_path):
    model = onnx.load(export_net(Pooled(), tmp_path).file)
    assert shapes(model.graph.output) == {"output": [3, 32, 32]}


class Product(nn.Module):
    def forward(self, a, b):
        return a * b


def test_two_inputs_share_a_dimension(tmp_path):
    inputs = {"a": Input(["batch", 4]), "b": Input(["batch", 1])}
    model = onnx.load(export_net(Product(), tmp_path, inputs=inputs).file)
    assert shapes(model.graph.input) == {"a": ["batch", 4], "b": ["batch", 1]}
    assert shapes(model.graph.output) == {"output": ["batch", 4]}


class Reshaped(nn.Module):
    def forward(self, x):
        return x.reshape(-1, 4).reshape(-1, 3 * 32 * 8, 4)


@pytest.mark.parametrize("usual", [1, 2, 8])
def test_an_outputs_dimensions_are_known_where_the_exporters_own_inference_loses_them(tmp_path, usual):
    model = onnx.load(export_net(Reshaped(), tmp_path, dims={"batch": Dim(1, usual, 8)}).file)
    assert shapes(model.graph.output) == {"output": ["batch", 3 * 32 * 8, 4]}


@pytest.mark.parametrize("how", ["trace", "script"])
def test_nothing_in_the_file_tells_where_it_was_made(tmp_path, how):
    content = export_net(TwoOutputs(), tmp_path, how=how).file.read_bytes()
    assert b"nets.py" not in content
    assert b"site-packages" not in content


@pytest.mark.parametrize("how", ["trace", "script"])
def test_weights_are_called_as_in_the_state_dict(tmp_path, how):
    graph = export_net(TwoOutputs(), tmp_path, how=how)
    weights = {i.name for i in onnx.load(graph.file).graph.initializer}
    assert {"head.weight", "head.bias"} <= weights  # the convolution's are folded with the norm's
    assert not [name for name in weights if name.startswith("model.")]


def test_provenance_is_written_into_the_file(traced, export):
    metadata = {p.key: p.value for p in onnx.load(export(traced).file).metadata_props}
    assert "UNTRAINED: drawn at random with seed 0" in metadata["drydock.weights"]


def test_two_exports_are_the_same_bytes(traced, export):
    first, again = (contents(export(traced, name).folder) for name in "ab")
    assert first == again


def test_a_second_trace_in_one_process_exports_the_same_bytes(tiny, reference, export, tmp_path):
    inputs = {"module": tiny, "reference": reference}
    traces = [run_stage(CaptureTrace(), inputs, tmp_path / d) for d in "ab"]
    first, again = (contents(export(t, f"{t.folder.name}-graph").folder) for t in traces)
    assert first == again


def test_only_the_graph_is_left_in_the_folder(traced, export):
    assert list(contents(export(traced).folder)) == ["model.onnx"]


@pytest.mark.parametrize(
    ("opset", "allowed", "command"),
    [
        (24, "7 to 23; capture=export writes it", "opset=24 capture=export"),
        (26, "7 to 23; capture=export writes it", "opset=26 capture=export"),
        (6, "7 to 23", "opset=7"),
    ],
)
def test_an_opset_out_of_range_is_a_problem_with_a_way_out(opset, allowed, command):
    (problem,) = ExportTorchscript(opset, {}, False).problems()
    assert problem.what == f"opset is {opset}, which the TorchScript exporter does not write"
    assert (problem.allowed, problem.command) == (allowed, command)


@pytest.mark.parametrize("opset", TORCHSCRIPT)
def test_every_opset_in_range_is_accepted(opset):
    assert ExportTorchscript(opset, {}, False).problems() == []


def test_a_dimension_that_the_trace_froze_is_named(tmp_path):
    with pytest.raises(CheckFailed, match=r"model\.dims\.batch: captured at 2, the module cannot be run at 8"):
        export_net(FrozenBatch(), tmp_path, inputs=VECTOR)


class RowsOfTheExample(nn.Module):
    """Runs at every size, and always returns as many rows as the captured example had."""

    def forward(self, x):
        return x.repeat(8, 1)[: int(x.shape[0])]


def test_a_dimension_that_came_out_fixed_is_named_where_the_trace_runs_at_every_size(tmp_path):
    says = r"model\.dims\.batch: captured at 2 and run at 8, dimension 0 of output 'output' is 2"
    with pytest.raises(CheckFailed, match=says):
        export_net(RowsOfTheExample(), tmp_path, inputs=VECTOR)


def test_a_size_that_a_script_takes_from_its_input_is_not_frozen(tmp_path):
    agrees(export_net(FrozenBatch(), tmp_path, how="script", inputs=VECTOR), tmp_path)


def test_a_branch_that_the_trace_fixed_is_exported_as_it_was_taken(tmp_path):
    graph = export_net(ValueBranch(), tmp_path, inputs=VECTOR)  # the check after it finds out: see test_check.py
    assert not {"Where", "If"} & {n.op_type for n in onnx.load(graph.file).graph.node}


def test_a_branch_in_a_script_is_exported_as_a_branch(tmp_path):
    graph = export_net(ValueBranch(), tmp_path, how="script", inputs=VECTOR)
    assert "If" in {n.op_type for n in onnx.load(graph.file).graph.node}
    agrees(graph, tmp_path)


def test_nothing_of_the_exporter_reaches_stdout(traced, export, capfd):
    export(traced)
    assert capfd.readouterr().out == ""


def test_exporting_leaves_the_callers_generator_alone(traced, export):
    before = torch.random.get_rng_state()
    export(traced)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("operator", translations.OURS)
def test_what_we_teach_the_exporter_is_taken_back(traced, export, operator):
    from torch.onnx._internal.torchscript_exporter.registration import registry

    export(traced)
    group = registry.get_function_group(operator)
    assert group is None or group.get(17).__module__.startswith("torch.onnx")


class Splits(nn.Module):
    """Splits off a class token, as video transformers do."""

    def forward(self, x):
        first, rest = torch.tensor_split(x, (1,), dim=1)
        return rest.transpose(1, 2), first.transpose(-1, -2)


@pytest.mark.parametrize("opset", [13, 18])
def test_what_was_split_at_a_place_keeps_its_rank(tmp_path, opset):
    graph = export_by("trace", Splits(), tmp_path, opset=opset, inputs=TOKENS, dims=BATCH_SEQ)
    agrees(graph, tmp_path)


class Differences(nn.Module):
    """First and second differences of the elements, and a running count of positive ones."""

    def forward(self, x):
        return torch.diff(x, dim=1, prepend=x[:, :1] - 1), torch.diff(x, n=2), (x > 0).cumsum(-1)


def test_differences_and_counts_are_exported(tmp_path):
    agrees(export_by("trace", Differences(), tmp_path, inputs=TOKENS, dims=BATCH_SEQ), tmp_path)
