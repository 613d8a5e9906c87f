"""A pytest plugin: runs coremltools' own tests, which state what Core ML answers, on our evaluator instead.

coremltools' wheel contains the tests, which normally run only with Core ML. Here, calls of Core ML go to the evaluator,
and the check whether Core ML exists says yes. Nothing else of coremltools is changed.
"""

from __future__ import annotations

import fnmatch
import json
import random
import zlib
from pathlib import Path

import numpy as np
import pytest

# coremltools/converters/mil/testing_reqs.py: only ML Programs, of every opset, in float32 too.
ENVIRONMENT = {
    "PYMIL_TEST_TARGETS": "mlprogram",
    "INCLUDE_MIL_FP32_UNIT_TESTS": "1",
    "RUN_BACKWARD_COMPATIBILITY": "1",
    "TQDM_DISABLE": "1",
}
MACOS = (26, 0)  # the newest: tests are skipped for what older ones had wrong
# The largest error of an answer in float16, relative to the largest expected one. coremltools' tests allow half a unit.
HALF = 5e-3

FLOAT16 = "7.899 is what float16 makes of 7.9"
UNDEFINED = "an index that has no place: refused, as the documentation leaves it undefined"
# Tests that state values which the evaluator does not give: the operators, the tests by a part of their id, and why.
EXCEPTIONS = (
    (
        "random_*",
        "iOS14/test_random.py::*",
        "answers that are drawn: the evaluator has no such operation, and refuses it",
    ),
    ("crop_resize", "*::TestCropResize::*_ios16*'fp32'*", FLOAT16),
    ("crop_resize", "*::TestCropResize::*_ios17*'fp32'*N=3]", FLOAT16),
    ("crop_resize", "iOS15/*::TestCropResize::test_builder*", "a box beyond the image, mirrored: refused"),
    ("gather*, scatter*", "*/test_scatter_gather.py::*invalid_indices*", UNDEFINED),
)

_operators: set[str] = set()  # the operators of the programs of one test


def pytest_addoption(parser):
    group = parser.getgroup("coremltools' own tests")
    group.addoption("--of-each", type=int, default=0, help="how many of each test function's parameters; 0 for all")
    group.addoption("--seed", type=int, default=0, help="which ones")
    group.addoption("--found", help="a file for a line of JSON for each test that states values")


def pytest_configure(config):
    import coremltools
    from coremltools import _deps
    from coremltools.converters.mil import testing_utils
    from coremltools.models import utils

    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    patch.setattr(utils, "_macos_version", lambda: MACOS)
    patch.setattr(_deps, "_IS_MACOS", True)
    patch.setattr(testing_utils, "_IS_MACOS", True)
    patch.setattr(testing_utils, "compare_backend", _compare_by(testing_utils.compare_backend))
    patch.setattr(coremltools.models.MLModel, "predict", _predict)
    patch.setattr(coremltools.models.MLModel, "make_state", _make_state)


def _function(model):
    from stages.coreml.mil import read

    if model.package_path is None:
        pytest.skip("a neural network, which is no ML Program")
    program = read.read(Path(model.package_path))
    return program, program.functions[model.function_name or program.default]


def _predict(self, data, state=None):
    """Core ML's answer in the form of MLModel.predict, from the evaluator."""
    from stages.coreml.mil import evaluate

    _operators.add(self.function_name or "main")
    program, function = _function(self)
    _operators.update(o.type for o in function.block.walk())
    inputs = {name: _as_feature(function.takes[name], value) for name, value in data.items()}
    outputs = evaluate.evaluate(program, inputs, self.function_name, state)
    return {name: _as_coreml_has_it(value) for name, value in outputs.items()}


def _make_state(self):
    from stages.coreml.mil import evaluate

    return evaluate.states(_function(self)[0], self.function_name)


def _as_feature(feature, value):
    """An input of the type that the description says: Core ML converts it, too."""
    pixels = np.asarray(value)
    if feature.form != "image":
        return pixels.astype(feature.dtype)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return (pixels[..., ::-1] if feature.color == "BGR" else pixels)[None].astype(feature.dtype)


def _as_coreml_has_it(value):
    """A label as it is, and a number as an array of one element."""
    if isinstance(value, np.ndarray) and not value.shape:
        return value.item() if value.dtype.kind == "U" else value.reshape(1)
    return value


def _compare_by(compare):
    """coremltools' comparison; by HALF for programs that compute in float16."""

    def compared(mlmodel, input_key_values, expected_outputs, dtype="fp32", atol=1e-4, rtol=1e-5, **more):
        function = _function(mlmodel)[1]
        types = [*function.inputs.values(), *(kind for o in function.block.walk() for _, kind in o.outputs)]
        if any(kind.dtype == "float16" for kind in types):
            numbers = [np.abs(v).max(initial=0) for v in expected_outputs.values() if isinstance(v, np.ndarray)]
            atol, rtol = max(atol, HALF * max([1.0, *(n for n in numbers if np.isfinite(n))])), max(rtol, HALF)
        return compare(mlmodel, input_key_values, expected_outputs, "fp32", atol, rtol, **more)

    return compared


def _name(item):
    """The folder, file, class, function and parameters of a test."""
    return f"{item.path.parent.name}/{item.path.name}::{item.nodeid.partition('::')[2]}"


def pytest_collection_modifyitems(config, items):
    """Limits the number of tests for each function, float32 before float16."""
    draws = random.Random(config.getoption("seed"))
    functions = {}
    for item in items:
        functions.setdefault(_name(item).split("[")[0], []).append(item)
        for _, pattern, why in EXCEPTIONS:
            if fnmatch.fnmatchcase(_name(item), pattern):
                item.add_marker(pytest.mark.xfail(reason=why))
    if count := config.getoption("of_each"):
        selected = set()
        for _, same in sorted(functions.items()):
            exact = [item for item in same if "fp16" not in item.name] or same
            selected |= set(draws.sample(exact, min(count, len(exact))))
        config.hook.pytest_deselected(items=[item for item in items if item not in selected])
        items[:] = [item for item in items if item in selected]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    np.random.seed(zlib.crc32(_name(item).encode()))
    _operators.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" and _operators and (path := item.config.getoption("found")):
        outcome = "excepted" if hasattr(report, "wasxfail") else report.outcome
        why = str(call.excinfo.value)[:200] if call.excinfo else ""
        row = {"test": _name(item), "outcome": outcome, "operators": sorted(_operators), "why": why}
        with Path(path).open("a") as file:
            file.write(json.dumps(row) + "\n")
