"""checking/check.py on decoders: faults that exporters make of caches are found, and the operator is named."""

from __future__ import annotations

import re

import pytest
import torch
from decoder import DIMS, FAULTS, INPUTS, OUTPUTS, Decoder
from harness import module, record, run_stage, tolerance

from pipeline.artifact import Artifact, Kind, Origin
from pipeline.errors import CheckFailed
from stages.checking.check import MOST, Check
from stages.interface import call
from stages.interface.interface import Interface
from stages.onnx.format import ONNX
from stages.reference import cases as reference_cases

# What is planted, and the operator that is to be named, or one that it goes into.
OPERATORS = {
    "mask dropped": "aten.__and__",
    "positions from zero": "aten.(div|cos|sin|mul|cat)",
    "cache joined in the wrong order": "aten.cat,",
    "window off by one": "aten.__and__",
    "rotary halves swapped": "aten.(mul|sub|add|cat),",
    "past frozen": "aten.(add|le|gt|__and__|masked_fill|softmax)",
    "embedding untied": "aten.linear of head",
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder") / "out"
    return record(Decoder(), folder, inputs=INPUTS, dims=DIMS, outputs=OUTPUTS, effort="standard")


def exported(fault, reference, folder):
    """The graph of a decoder with a fault, which says that it is the right one."""
    interface = Interface.read(reference)
    example = next(reference_cases.read(reference)).inputs
    folder.mkdir(parents=True)
    torch.onnx.export(
        call.bind(Decoder(fault).eval(), interface),
        tuple(map(torch.from_numpy, example.values())),
        folder / ONNX.file,
        dynamo=False,
        opset_version=17,
        input_names=list(INPUTS),
        output_names=OUTPUTS,
        dynamic_axes={n: s.axes for n, s in interface.inputs.items()}
        | {n: {i: d for i, d in enumerate(o.shape) if isinstance(d, str)} for n, o in interface.outputs.items()},
    )
    model = module(Decoder())
    origin = Origin("export", lambda: Artifact(Kind.MODULE, live=model.live, origin=Origin("load", None)))
    return Artifact(ONNX, folder, facts=interface.facts, origin=origin)


def checked(fault, reference, folder):
    artifact = exported(fault, reference, folder / "onnx")
    check = Check("float32", {}, [], tolerance("fp32"), False)
    return run_stage(check, {"artifact": artifact, "reference": reference}, folder / "check")


def test_a_decoder_as_it_is_agrees(reference, tmp_path):
    assert "worst relative error" in checked("", reference, tmp_path).notes["says"]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_its_operator_is_named(reference, tmp_path, fault):
    with pytest.raises(CheckFailed) as caught:
        checked(fault, reference, tmp_path)
    (problem,) = caught.value.problems
    assert len(problem.what.splitlines()) <= 1 + MOST + 3
    assert re.search(f"diverges first: {OPERATORS[fault]}", problem.what)
