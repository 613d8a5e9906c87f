"""coreml/translations: compares our translations with torch at every size, with the evaluator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conversions import capture
from coreml_ops import CASES, Calls
from coreml_stages import compile_coreml
from harness import BATCH, backend, reference_in, run_stage, tolerance
from torch import nn
from torch.nn import functional

from pipeline.errors import StageError
from stages.coreml import translations, unconverted
from stages.formats import session
from stages.interface.interface import Dim, Input
from stages.reference import parity

backend("coremltools")
# By the constants alone: an operator by itself has next to no error of its own to be measured by.
CONSTANT = replace(tolerance("fp32"), noise=None)
OPEN = {"batch": Dim(1, 2, 4), "wide": Dim(6, 8, 12), "samples": Dim(40, 64, 100)}


# torch.export takes the number of windows for a branch, and has one more axis instead of repeat_interleave.
FOR_TRACES = (
    "avg_pool1d with gaps over an open edge",
    "max_pool1d over an open edge",
    "repeat_interleave by a size",
    "repeat_interleave of five axes",
    "fft of an open size",
)
NOT_EXPORTED = [(name, "export") for name in FOR_TRACES]
SHAPES = [shape for n, (_, shape) in enumerate(CASES.values()) if shape not in [s for _, s in [*CASES.values()][:n]]]


# What rounding to float16 decides.
BEYOND_FLOAT16 = (
    "round to decimals, shifts",
    "divisions rounded down",
    "remainder and fmod",
    "remainder and fmod of whole numbers",
)
DEAR = ["batch", 2, 6, 8]  # many cases are of that one
MARKED = [pytest.param(s, marks=pytest.mark.slow) if s == DEAR else s for s in SHAPES]


@pytest.mark.parametrize("shape", MARKED, ids=str)
def test_what_coremltools_lacks_is_translated(shape: list[Any], tmp_path: Path) -> None:
    assert_translated(
        "trace", [function for function, shape_of_case in CASES.values() if shape_of_case == shape], shape, tmp_path
    )


@pytest.mark.slow  # all of one shape together, which is a conversion in the place of many, before this
@pytest.mark.parametrize(
    ("name", "how"), [(name, how) for how in ("trace", "export") for name in CASES if (name, how) not in NOT_EXPORTED]
)
def test_what_coremltools_lacks_is_translated_by_itself(name: str, how: str, tmp_path: Path) -> None:
    function, shape = CASES[name]
    assert_translated(how, [function], shape, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in BEYOND_FLOAT16])
def test_what_coremltools_lacks_is_translated_in_float16(name: str, tmp_path: Path) -> None:
    function, shape = CASES[name]
    assert_translated("trace", [function], shape, tmp_path, "float16")


def assert_translated(
    how: str, functions: list[Callable[..., Any]], shape: list[Any], tmp_path: Path, compute: str = "float32"
) -> None:
    dims = {n: d for n, d in OPEN.items() if n in shape}
    program = capture(how, Calls(*functions), tmp_path, inputs={"x": Input(shape, fill="normal")}, dims=dims)
    converted = run_stage(compile_coreml(compute=compute), program, tmp_path / "package")
    tolerated = CONSTANT if compute == "float32" else replace(tolerance("fp16"), noise=None)
    comparison = parity.measure(converted, session.open_session(converted, compute), reference_in(tmp_path), tolerated)
    assert (comparison.wrong, comparison.left_out) == ([], [])
    assert len(comparison.cases) >= 3 or not dims


@pytest.mark.parametrize("how", ["trace", "export"])
def test_divisions_rounded_down_are_right_in_float16(how: str, tmp_path: Path) -> None:
    """Multiples of 1/8: float16 represents them and their remainders exactly."""

    def rests(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = (x * 64).round() / 8
        return x % 1, x % -0.75, torch.fmod(x, 1), torch.fmod(x, -2.5), x // 1

    inputs = {"x": Input(["batch", 6], fill="normal")}
    program = capture(how, Calls(rests), tmp_path, inputs=inputs, dims=BATCH)
    converted = run_stage(compile_coreml(compute="float16"), program, tmp_path / "package")
    running = session.open_session(converted, "float16")
    x = torch.arange(-12.0, 12.0).reshape(4, 6) / 64
    for answer, expected in zip(running({"x": x.numpy()}).values(), rests(x), strict=True):
        assert (torch.tensor(answer) == expected).all()


def test_a_write_through_a_view_that_is_no_part_is_refused_with_its_line(tmp_path: Path) -> None:
    def through(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        y.view(-1).add_(1)
        return y

    program = capture("trace", Calls(through), tmp_path, inputs={"x": Input([2, 4], fill="normal")}, dims={})
    with pytest.raises(StageError, match=r"aten::add_ writes into a view(?s:.*)test_translations(?s:.*)capture=export"):
        run_stage(compile_coreml(), program, tmp_path / "package")
    assert_translated("trace", [lambda x: (x * 1).view(-1).add_(1)], [2, 4], tmp_path / "alone")


def test_a_split_into_nothing_is_refused(tmp_path: Path) -> None:
    def split(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor_split(x, (0, 3), dim=1)[1] * 2

    program = capture("trace", Calls(split), tmp_path, inputs={"x": Input(["batch", 4], fill="normal")}, dims=BATCH)
    with pytest.raises(StageError, match="one of the parts of 'x' would be empty"):
        run_stage(compile_coreml(), program, tmp_path / "package")


def test_registering_twice_changes_nothing_and_replaces_only_what_has_a_reason() -> None:
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    translations.register()
    once = dict(_TORCH_OPS_REGISTRY.name_to_func_mapping)
    translations.register()
    assert dict(_TORCH_OPS_REGISTRY.name_to_func_mapping) == once
    ours = {name for name, function in once.items() if function.__module__.startswith("stages.")}
    assert set(translations.REPLACED) <= ours
    assert ours <= set(translations.translations())


def test_nothing_is_lacking_of_a_program_of_known_operators(tmp_path: Path) -> None:
    program = capture("export", Calls(lambda x: (x & x.new_ones((), dtype=torch.bool)) | x), tmp_path, **MASK)
    translations.register()
    assert list(unconverted.lacking(program.live.run_decompositions({}))) == []


MASK = {"inputs": {"x": Input(["batch", 4], "bool", {"integers": [0, 2]})}, "dims": BATCH}


class HandingOn(nn.Module):
    """Returns an input, one tensor twice, an alias, a number twice and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.arange(6.0))

    def forward(self, x: torch.Tensor) -> Any:
        y = x * 2
        return x, y, y, functional.dropout(y, training=False), y.sum(), y.sum(), self.anchors, x > 0


@pytest.mark.parametrize("how", ["trace", "export"])
def test_outputs_may_be_inputs_and_one_another(how: str, tmp_path: Path) -> None:
    program = capture(how, HandingOn(), tmp_path, inputs={"x": Input(["batch", 4], fill="normal")}, dims=BATCH)
    converted = run_stage(compile_coreml(), program, tmp_path / "package")
    comparison = parity.measure(converted, session.open_session(converted, "float32"), reference_in(tmp_path), CONSTANT)
    assert comparison.wrong == []
