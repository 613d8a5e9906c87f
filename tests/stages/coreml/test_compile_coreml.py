"""CompileCoreml: the evaluator runs packages of captured programs, and their outputs are compared with the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conversions import capture
from coreml_stages import compile_coreml
from harness import BATCH, VECTOR, backend, contents, module, reference_in, run_stage, tolerance
from nets import Bessel, FixedBatch, TinyConv, TwoOutputs
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError, StageError
from stages.capture.format import TORCHSCRIPT
from stages.checking.check import Check
from stages.coreml import package as package_files
from stages.coreml.package import Metadata
from stages.formats import session
from stages.formats.ignored import Ignored
from stages.interface.edits import Images
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input, Interface
from stages.reference import parity
from stages.reference.record_reference import RecordReference

backend("coremltools")


def package(program: Artifact, folder: Path, **settings: Any) -> Artifact:
    return run_stage(compile_coreml(**settings), program, folder)


def agrees(artifact: Artifact, reference: Artifact, folder: Path) -> list[str]:
    """The cases that a package was checked at, with the tolerance of float32."""
    check = Check("float32", {}, [], tolerance("fp32"), False)
    done = run_stage(check, {"artifact": artifact, "reference": reference}, folder)
    return [case["label"] for case in done.notes["parity"]["cases"]]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    folder = tmp_path_factory.mktemp("traced")
    return capture("trace", TwoOutputs(), folder), reference_in(folder)


# By export in test_compile_coreml_auto.
BY = pytest.mark.parametrize("how", ["trace", pytest.param("export", marks=pytest.mark.slow)])


@BY
def test_a_package_agrees_with_the_model_at_every_size_and_keeps_its_names(how: str, tmp_path: Path) -> None:
    program = capture(how, TwoOutputs(), tmp_path, outputs=["logits", "features"])
    converted = package(program, tmp_path / "package")
    assert agrees(converted, reference_in(tmp_path), tmp_path / "check") == ["example", "min", "odd", "max"]
    spec = package_files.spec_of(converted.file)
    ports = (*spec.description.input, *spec.description.output)
    assert [p.name for p in ports] == ["input", "logits", "features"]
    assert {p.type.multiArrayType.dataType for p in ports} == {65568}  # FLOAT32
    assert (converted.facts["deployment_target"], spec.specificationVersion) == ("iOS16", 7)


def test_a_package_of_float16_computes_in_it_and_takes_and_gives_float32(traced: Any, tmp_path: Path) -> None:
    program, reference = traced
    converted = package(program, tmp_path / "package", compute="float16")
    ports = package_files.spec_of(converted.file).description
    assert {p.type.multiArrayType.dataType for p in (*ports.input, *ports.output)} == {65568}
    assert session.open_session(converted, "float16").computes_in == "float16"
    comparison = parity.measure(converted, session.open_session(converted, "float16"), reference, tolerance("fp32"))
    assert 1e-4 < comparison.worst < 1e-2


def test_operations_are_left_in_float32_by_type_and_by_name(traced: Any, tmp_path: Path) -> None:
    program, _ = traced
    converted = package(program, tmp_path / "package", compute="float16", ignored=Ignored([], [], ["conv"]))
    kinds = {
        op.type: op.outputs[0].type.tensorType.dataType
        for block in package_files.spec_of(converted.file).mlProgram.functions["main"].block_specializations.values()
        for op in block.operations
    }
    assert (kinds["conv"], kinds["linear"]) == (11, 10)  # FLOAT32, FLOAT16
    with pytest.raises(ConfigError) as caught:
        package(program, tmp_path / "unknown", compute="float16", ignored=Ignored(["nope"], ["no+"], ["convv"]))
    by_name, by_pattern, by_type = caught.value.problems
    assert by_name.what == "ignored.names has nope, which no operation of this program is"
    assert by_pattern.what == "ignored.patterns has no+, which no operation of this program is"
    assert by_type.what == "ignored.types has convv, did you mean 'conv'?, which no operation of this program is"


class Masked(nn.Module):
    """Attention weights of scores; float32's lowest number replaces scores below zero and a whole row before."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lowest = torch.finfo(torch.float32).min
        scores = torch.cat([torch.full((1, 4), lowest), x.masked_fill(x < 0, lowest)])
        return scores, torch.softmax(scores, -1)


def test_a_row_that_is_masked_all_through_is_no_nan_in_float16(tmp_path: Path) -> None:
    program = capture("trace", Masked(), tmp_path, inputs=VECTOR, outputs=["scores", "weights"])
    rows = np.array([[-1, -1, -1, -1], [-1, 1, -1, 1]], np.float32)
    for types, lowest in ([], -65504.0), (["concat", "select", "softmax"], float(np.finfo(np.float32).min)):
        converted = package(program, tmp_path / f"{len(types)}", compute="float16", ignored=Ignored([], [], types))
        answer = session.open_session(converted, "float16")({"input": rows})
        assert answer["scores"][:2].tolist() == [[lowest] * 4] * 2
        assert answer["weights"].tolist() == [[0.25] * 4, [0.25] * 4, [0, 0.5, 0, 0.5]]


class Sum(nn.Module):
    """Adds two tensors."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


class Whole(nn.Module):
    """Looks numbers up, says which are large, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 4)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows = self.table(tokens) * mask.unsqueeze(-1)
        return rows, rows.sum(-1) > 0, tokens * 2


@BY
def test_types_that_core_ml_lacks_are_exchanged_and_recorded(how: str, tmp_path: Path) -> None:
    shape = ["batch", 6]
    tokens, mask = (Input(shape, dtype, {"integers": [0, most]}) for dtype, most in (("int64", 50), ("bool", 2)))
    program = capture(how, Whole(), tmp_path, inputs={"tokens": tokens, "mask": mask}, outputs=["f", "l", "d"])
    converted = package(program, tmp_path / "package")
    assert converted.facts["edits"]["dtypes"] == {"tokens": "int32", "mask": "float32", "l": "float32", "d": "int32"}
    assert agrees(converted, reference_in(tmp_path), tmp_path / "check")


def test_inputs_and_outputs_may_have_other_names_and_types(traced: Any, tmp_path: Path) -> None:
    program, reference = traced
    edits = {"names": {"input": "pixels"}, "dtypes": {"input": "float16"}, "reshape": {"input": [2, 3, 32, 32]}}
    converted = package(program, tmp_path / "package", edits=edits)
    comparison = parity.measure(converted, session.open_session(converted, "float32"), reference, tolerance("fp16"))
    assert (comparison.wrong, comparison.left_out) == ([], ["min", "odd", "max"])
    (port,) = package_files.spec_of(converted.file).description.input
    assert (port.name, port.type.multiArrayType.dataType) == ("pixels", 65552)  # FLOAT16


def test_sizes_may_be_enumerated(traced: Any, tmp_path: Path) -> None:
    program, reference = traced
    converted = package(program, tmp_path / "package", shapes="enumerated")
    assert agrees(converted, reference, tmp_path / "check") == ["example", "min", "odd", "max"]
    sizes = package_files.spec_of(converted.file).description.input[0].type.multiArrayType.enumeratedShapes.shapes
    assert [s.shape[0] for s in sizes] == [2, 1, 3, 8]
    two = package(program, tmp_path / "two", shapes="enumerated", sizes=[{"batch": 1}, {"batch": 8}])
    assert agrees(two, reference, tmp_path / "check two") == ["min", "max"]
    with pytest.raises(ConfigError, match=r"sizes has \{'batch': 9\}"):
        package(program, tmp_path / "beyond", shapes="enumerated", sizes=[{"batch": 9}])


def test_two_enumerated_inputs_need_a_system_that_has_them(tmp_path: Path) -> None:
    inputs = {n: Input(["batch", 4], fill="normal") for n in ("a", "b")}
    program = capture("trace", Sum(), tmp_path, inputs=inputs)
    with pytest.raises(
        ConfigError, match="deployment_target is macOS13, which does not have enumerated shapes of 2 inputs: a, b"
    ) as refused:
        package(program, tmp_path / "old", shapes="enumerated", deployment_target="macOS13")
    assert refused.value.problems[0].command == "stages.compile.deployment_target=macOS15"


HOW = Preprocessing(40, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("color", "order"), [pytest.param("RGB", "RGB", marks=pytest.mark.slow), ("BGR", "RGB"), ("RGB", "BGR")]
)
def test_an_image_goes_through_the_models_own_normalisation(color: str, order: str, tmp_path: Path) -> None:
    how = replace(HOW, color=order)
    net = TinyConv()
    program = capture("trace", net, tmp_path)
    stage = RecordReference(
        {"input": Input(["batch", 3, 32, 32])}, BATCH, None, None, how, True, None, [], 0, "quick", None, 16
    )
    reference = run_stage(stage, module(net), tmp_path / "photographs")
    converted = package(program, tmp_path / "package", edits={"images": Images(None, color)}, preprocessing=how)
    cases = agrees(converted, reference, tmp_path / "check")
    assert [c for c in cases if c.startswith("photograph")] == cases
    assert len(cases) >= 3


@pytest.mark.slow  # of a smaller model before this
def test_photographs_get_the_models_own_first_guess(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v3_small().eval()
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (HOW.mean, HOW.std))
    program = capture("trace", net, tmp_path, inputs={"input": Input([1, 3, 224, 224])}, dims={})
    converted = package(program, tmp_path / "package", edits={"images": Images(None, "RGB")}, preprocessing=HOW)
    classify = session.open_session(converted, "float32")
    guesses = []
    for photograph in load_sample_images().images:
        shown = np.asarray(Image.fromarray(photograph).resize((224, 224)))
        with torch.no_grad():
            expected = net(((torch.from_numpy(shown.copy()).permute(2, 0, 1) / 255 - mean) / std)[None])[0]
        (scores,) = classify({"input": shown[None]}).values()
        torch.testing.assert_close(
            torch.from_numpy(scores)[0], expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item()
        )
        guesses.append(int(scores.argmax()))
        assert guesses[-1] == int(expected.argmax())
    assert len(set(guesses)) == 2, "an answer that is always the same proves little"


def test_a_classifier_answers_with_a_label_and_its_scores(tmp_path: Path) -> None:
    program = capture("trace", TinyConv(4), tmp_path)
    converted = package(program, tmp_path / "package", classifier=True, labels=["cat", "dog", "fish", "fowl"])
    assert agrees(converted, reference_in(tmp_path), tmp_path / "check") == ["min"]
    answer = session.open_session(converted, "float32")({"input": np.zeros((1, 3, 32, 32), np.float32)})
    assert answer["classLabel"] in ("cat", "dog", "fish", "fowl")
    with pytest.raises(ConfigError, match="with 2 labels, and the model answers with"):
        package(program, tmp_path / "few", classifier=True, labels=["cat", "dog"])


def test_a_package_says_what_it_is_to_people(traced: Any, tmp_path: Path) -> None:
    program, _ = traced
    metadata = Metadata("Ann", "MIT", "1.0", "Sees.", {"input": "An image."}, {})
    converted = package(program, tmp_path / "package", metadata=metadata)
    described = package_files.spec_of(converted.file).description
    written = described.metadata
    assert (written.author, written.license, written.versionString, written.shortDescription) == (
        "Ann",
        "MIT",
        "1.0",
        "Sees.",
    )
    assert described.input[0].shortDescription == "An image."
    assert json.loads(written.userDefined["drydock.interface"])["inputs"][0]["name"] == "input"
    with pytest.raises(ConfigError, match=r"metadata\.inputs describes 'imput'"):
        package(program, tmp_path / "other", metadata=replace(metadata, inputs={"imput": ""}))


def test_two_conversions_of_one_program_are_the_same_bytes(traced: Any, tmp_path: Path) -> None:
    program, _ = traced
    one, other = (package(program, tmp_path / name, compute="float16") for name in "ab")
    assert contents(one.folder) == contents(other.folder)
    assert b"conversion_date" not in (one.file / package_files.MODEL).read_bytes()


@pytest.mark.parametrize("how", ["trace", "export"])
def test_operators_without_a_translation_are_listed_with_the_models_lines(how: str, tmp_path: Path) -> None:
    class Two(Bessel):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j1(super().forward(x))

    program = capture(how, Two(), tmp_path, inputs={"input": Input([2, 4], fill="normal")}, dims={})
    with pytest.raises(
        StageError, match=r"no translation of aten::special_bessel_j0.*aten::special_bessel_j1"
    ) as caught:
        package(program, tmp_path / "package")
    assert "in forward: return torch.special.bessel_j1(super().forward(x))" in str(caught.value)


def test_what_coremltools_cannot_convert_is_a_failure_in_words(tmp_path: Path) -> None:
    class Wide(FixedBatch):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(1, 2, 1, 2, 1, 2) * 2

    program = capture("trace", Wide(), tmp_path, inputs={"input": Input([2, 4], fill="normal")}, dims={})
    with pytest.raises(StageError, match=r"coremltools cannot convert this program: .*rank"):
        package(program, tmp_path / "package")


@pytest.mark.parametrize("how", ["trace", "export"])
def test_the_operator_that_coremltools_fails_at_is_told_with_the_models_line(how: str, tmp_path: Path) -> None:
    class Growing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 2).cumprod(0)

    program = capture(how, Growing(), tmp_path, inputs=VECTOR, dims=BATCH)
    with pytest.raises(StageError, match=r"cumprod, at .* in forward: return \(x \* 2\)\.cumprod\(0\)"):
        package(program, tmp_path / "package")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"deployment_target": "iOS14"}, "deployment_target is iOS14"),
        ({"compute": "bfloat16"}, "compute is bfloat16"),
        ({"compute_units": "NPU"}, "compute_units is NPU"),
        ({"shapes": "any"}, "shapes is any"),
        ({"sizes": [{"batch": 1}]}, "sizes names some, and shapes is range"),
        ({"classifier": True}, "labels is null"),
        ({"ignored": Ignored([], [], ["softmax"])}, "compute is float32"),
        ({"edits": {"outputs": ["a"]}}, "edits.outputs is"),
        ({"edits": {"layouts": {"input": "NCHW->NHWC"}}}, "edits.layouts is"),
        ({"edits": {"images": Images(layout="NCHW")}, "preprocessing": HOW}, "edits.images.layout is NCHW"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_before_any_work(settings: dict[str, Any], says: str) -> None:
    (problem,) = compile_coreml(**settings).problems()
    assert says in problem.what


@pytest.mark.parametrize(
    ("settings", "interface", "says"),
    [
        ({"edits": {"dtypes": {"input": "int16"}}}, VECTOR, r"edits\.dtypes\.input is int16"),
        (
            {"edits": {"dtypes": {"input": "float16"}}, "deployment_target": "iOS15"},
            VECTOR,
            "deployment_target is iOS15, which does not have 'input' in float16",
        ),
        ({}, {"input": Input([])}, "a scalar"),
        ({}, {"state": Input([2])}, r"'state' is a word of Core ML's language(?s:.*)edits\.names=\{state: state_\}"),
        ({"edits": {"names": {"x": "int8"}}}, {"x": Input([2])}, r"'int8' is a word(?s:.*)names=\{x: int8_\}"),
        ({}, {"a/b.c": Input([2])}, r"'a/b\.c' is no name in Core ML's language(?s:.*)names=\{a/b\.c: a_b_c\}"),
    ],
)
def test_what_core_ml_does_not_take_is_refused(settings: Any, interface: Any, says: str, tmp_path: Path) -> None:
    ports = Interface(interface, {"batch": Dim(1, 2, 8)} if interface is VECTOR else {})
    program = Artifact(TORCHSCRIPT, tmp_path, facts=ports.facts)
    with pytest.raises(ConfigError, match=says):
        compile_coreml(**settings).run({"program": program}, tmp_path)
