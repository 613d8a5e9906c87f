"""stages/export_torchscript.py, with our own symbolic function of stages/_translations.py."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
import torch
from harness import (
    BATCH,
    BATCH_SEQ,
    IMAGE,
    TOKENS,
    VECTOR,
    Attention,
    FrozenBatch,
    TwoOutputs,
    ValueBranch,
    contents,
    module,
    run_stage,
    tolerance,
)
from torch import nn

from pipeline.errors import DrydockError
from stages._interface import Dim, Input
from stages.capture_trace import CaptureTrace
from stages.check import Check
from stages.export_torchscript import OPSETS, ExportTorchscript
from stages.record_reference import RecordReference


def export(traced, folder, *, opset=17, inputs=IMAGE, dims=BATCH, outputs=("logits",)):
    return run_stage(ExportTorchscript(opset, inputs, dims, list(outputs), 0, {}, False), traced, folder)


def export_net(net, folder, *, opset=17, inputs=IMAGE, dims=BATCH, outputs=("logits",)):
    traced = run_stage(CaptureTrace(inputs, dims, 0), module(net), folder / "traced")
    return export(traced, folder / "graph", opset=opset, inputs=inputs, dims=dims, outputs=outputs)


def shapes(ports):
    return {p.name: [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim] for p in ports}


@pytest.mark.parametrize("opset", [OPSETS.start, 9, 11, 17, OPSETS.stop - 1])
def test_the_file_has_the_opset_that_was_asked_for_and_answers_as_the_model(traced, reference, tmp_path, opset):
    made = export(traced, tmp_path / "out", opset=opset)
    assert [o.version for o in onnx.load(made.file).opset_import if o.domain == ""] == [opset]
    assert made.facts["opset"] == opset
    check = Check("float32", tolerance("fp32"))
    run_stage(check, {"artifact": made, "reference": reference}, tmp_path / "check")


def test_names_and_dynamic_dimensions_are_as_asked(traced, tmp_path):
    model = onnx.load(export(traced, tmp_path / "out").file)
    assert shapes(model.graph.input) == {"input": ["batch", 3, 32, 32]}
    assert shapes(model.graph.output) == {"logits": ["batch", 10]}


def test_several_outputs_keep_their_names_and_fixed_sizes(tmp_path):
    model = onnx.load(export_net(TwoOutputs(), tmp_path, outputs=["logits", "features"]).file)
    assert shapes(model.graph.output) == {"logits": ["batch", 10], "features": ["batch", 4, 32, 32]}


@pytest.mark.parametrize("opset", [14, 17])
def test_attention_is_exported_for_every_batch_and_length(tmp_path, opset):
    net = Attention()
    made = export_net(net, tmp_path, opset=opset, inputs=TOKENS, dims=BATCH_SEQ, outputs=["encoded"])
    assert shapes(onnx.load(made.file).graph.output) == {"encoded": ["batch", "seq", 8]}
    reference = run_stage(RecordReference(TOKENS, BATCH_SEQ, ["encoded"], 0), module(net), tmp_path / "reference")
    check = Check("float32", tolerance("fp32"))
    run_stage(check, {"artifact": made, "reference": reference}, tmp_path / "check")


def test_an_output_whose_size_depends_on_no_input_stays_fixed(tmp_path):
    class Pooled(nn.Module):
        def forward(self, x):
            return x.mean(0)

    model = onnx.load(export_net(Pooled(), tmp_path).file)
    assert shapes(model.graph.output) == {"logits": [3, 32, 32]}


def test_two_inputs_share_a_dimension(tmp_path):
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    inputs = {"a": Input(["batch", 4]), "b": Input(["batch", 1])}
    model = onnx.load(export_net(Sum(), tmp_path, inputs=inputs).file)
    assert shapes(model.graph.input) == {"a": ["batch", 4], "b": ["batch", 1]}
    assert shapes(model.graph.output) == {"logits": ["batch", 4]}


@pytest.mark.parametrize("usual", [1, 2, 8])
def test_an_outputs_batch_is_named_where_the_exporters_own_inference_loses_it(tmp_path, usual):
    class Reshaped(nn.Module):
        def forward(self, x):
            return x.reshape(-1, 4).reshape(-1, 3 * 32 * 8, 4)

    model = onnx.load(export_net(Reshaped(), tmp_path, dims={"batch": Dim(1, usual, 8)}).file)
    assert shapes(model.graph.output)["logits"][0] == "batch"


def test_nothing_in_the_file_tells_where_it_was_made(tmp_path):
    content = export_net(TwoOutputs(), tmp_path, outputs=["logits", "features"]).file.read_bytes()
    assert b"harness.py" not in content
    assert b"site-packages" not in content


def test_provenance_is_written_into_the_file(traced, tmp_path):
    told = {p.key: p.value for p in onnx.load(export(traced, tmp_path / "out").file).metadata_props}
    assert "UNTRAINED: drawn at random with seed 0" in told["drydock.weights"]


def test_two_exports_of_a_live_trace_are_the_same_bytes(tiny, tmp_path):
    fresh = run_stage(CaptureTrace(IMAGE, BATCH, 0), tiny, tmp_path / "traced")
    first, again = (contents(export(fresh, tmp_path / d).folder) for d in "ab")
    assert first == again


def test_a_trace_from_the_store_exports_the_same_bytes_as_a_live_one(tiny, tmp_path):
    fresh = run_stage(CaptureTrace(IMAGE, BATCH, 0), tiny, tmp_path / "traced")
    live = export(fresh, tmp_path / "live")
    assert contents(export(replace(fresh, live=None), tmp_path / "stored").folder) == contents(live.folder)


def test_a_second_trace_in_one_process_exports_the_same_bytes(tiny, tmp_path):
    traces = [run_stage(CaptureTrace(IMAGE, BATCH, 0), tiny, tmp_path / d) for d in "ab"]
    first, again = (contents(export(t, tmp_path / f"{t.folder.name}-graph").folder) for t in traces)
    assert first == again


def test_only_the_graph_is_left_in_the_folder(traced, tmp_path):
    assert list(contents(export(traced, tmp_path / "out").folder)) == ["model.onnx"]


@pytest.mark.parametrize(
    ("opset", "allowed", "command"),
    [
        (24, "7 to 23; capture=export writes 18 to 26", "opset=24 capture=export"),
        (26, "7 to 23; capture=export writes 18 to 26", "opset=26 capture=export"),
        (6, "7 to 23", "opset=7"),
    ],
)
def test_an_opset_out_of_range_is_a_problem_with_a_way_out(opset, allowed, command):
    (problem,) = ExportTorchscript(opset, IMAGE, BATCH, ["logits"], 0, {}, False).problems()
    assert problem.what == f"opset is {opset}, which the TorchScript exporter does not write"
    assert (problem.allowed, problem.command) == (allowed, command)


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_in_range_is_accepted(opset):
    assert ExportTorchscript(opset, IMAGE, BATCH, ["logits"], 0, {}, False).problems() == []


def test_a_dimension_that_the_trace_froze_is_named(tmp_path):
    with pytest.raises(DrydockError, match="batch"):
        export_net(FrozenBatch(), tmp_path, inputs=VECTOR)


def test_a_branch_that_the_trace_fixed_is_exported_as_it_was_taken(tmp_path):
    net = ValueBranch()
    made = export_net(net, tmp_path, inputs=VECTOR)  # the check after it finds out: see test_check.py
    assert "Where" not in {n.op_type for n in onnx.load(made.file).graph.node}


def test_nothing_of_the_exporter_reaches_stdout(traced, tmp_path, capfd):
    export(traced, tmp_path / "out")
    assert capfd.readouterr().out == ""


def test_exporting_leaves_the_callers_generator_alone(traced, tmp_path):
    before = torch.random.get_rng_state()
    export(traced, tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_we_teach_the_exporter_is_taken_back(traced, tmp_path):
    from torch.onnx._internal.torchscript_exporter.registration import registry

    export(traced, tmp_path / "out")
    assert registry.get_function_group("aten::unflatten").get(17).__module__.startswith("torch.onnx")
