"""Every use of TensorRT's Python API is one that the genuine bindings of 10.x and of 11.x have.

`make tensorrt-bindings` installs these; their libraries are not needed, stubs stand for them. The double of the API
that other tests run on is held to the same.
"""

from __future__ import annotations

import ast
import enum
import inspect
from pathlib import Path

import pytest
from tensorrt_calls import Uses, returns, users
from tensorrt_surface import MAJORS, surface

ROOT = Path(__file__).parents[1]
FILES = [p.relative_to(ROOT).as_posix() for folder in ("stages", "pipeline") for p in users(ROOT / folder)]
RETURNS = returns((ROOT / name).read_text() for name in FILES)
# What code for earlier versions says; all of it is gone in 11.
REMOVED = [
    "config.set_flag(trt.BuilderFlag.FP16)",
    "config.set_flag(trt.BuilderFlag.INT8)",
    "builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))",
    "config.int8_calibrator = None",
    "builder.platform_has_fast_fp16",
    "network.get_layer(0).precision",
    "network.get_input(0).set_dynamic_range(-1.0, 1.0)",
    "engine.device_memory_size",
    "parser.supports_model(b'', '')",
]
# What no version takes.
WRONG = [
    ("trt.Bilder(logger)", "no tensorrt.Bilder"),
    ("config.set_timing_cache(config.create_timing_cache(b''))", "is none of"),
    ("config.set_timing_cache(config.create_timing_cache(b''), ignore=False)", "is none of"),
    ("engine.num_layers = 3", "cannot be set"),
    ("parser.get_error(0).describe()", "ParserError has no describe"),
    ("something.create_network(0)", "no known type"),
    ("class Mine(trt.IProgressMonitor):\n        def phase_began(self, name): ...", "calls no phase_began"),
    ("class Mine(trt.IProgressMonitor):\n        def phase_start(self, name): ...", "calls phase_start with"),
]
PLANTED = """
def planted(config: trt.IBuilderConfig, builder: trt.Builder, network: trt.INetworkDefinition, engine: trt.ICudaEngine,
            parser: trt.OnnxParser):
    {}
"""


@pytest.fixture(params=MAJORS)
def major(request: pytest.FixtureRequest) -> str:
    return request.param


def uses(major: str, source: str) -> Uses:
    uses_found = Uses(surface(major), RETURNS)
    uses_found.visit(ast.parse(source))
    return uses_found


def test_the_bindings_are_of_the_versions_that_we_speak_of(major):
    assert surface(major)["version"].startswith(f"{major}.")


@pytest.mark.parametrize("name", FILES)
def test_every_use_of_the_api_is_one_that_the_bindings_have(name, major):
    assert uses(major, (ROOT / name).read_text()).wrong == []


def test_the_uses_are_found(major):
    """Some of each sort; a checker that sees nothing would find nothing wrong."""
    all_uses = {use for name in FILES for use in uses(major, (ROOT / name).read_text()).used}
    assert all_uses >= {
        "Builder.build_serialized_network",
        "BuilderFlag.TF32",
        "IBuilderConfig.set_timing_cache",
        "ICudaEngine.weight_streaming_budget_v2",
        "IExecutionContext.execute_async_v3",
        "OnnxParserRefitter.refit_from_file",
        "ParserError.node_operator",
        "init_libnvinfer_plugins",
    }
    assert len(all_uses) >= 90


@pytest.mark.parametrize("line", REMOVED)
def test_what_is_gone_in_11_is_refused(line):
    assert uses("11", PLANTED.format(line)).wrong
    assert uses("10", PLANTED.format(line)).wrong == []


@pytest.mark.parametrize(("line", "says"), WRONG)
def test_what_no_version_has_is_refused(line, says, major):
    assert any(says in wrong for wrong in uses(major, PLANTED.format(line)).wrong)


def double() -> dict[str, set[str]]:
    """The double's classes, each with its public names, and its functions."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("tensorrt_double", ROOT / "tests" / "doubles" / "tensorrt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    members_ = {
        n: o for n, o in vars(module).items() if n[0] != "_" and getattr(o, "__module__", "") == "tensorrt_double"
    }
    classes = {n: o for n, o in members_.items() if inspect.isclass(o)}
    members = {
        n: {*c.__members__} if issubclass(c, enum.Enum) else {m for b in c.__mro__[:-1] for m in vars(b) if m[0] != "_"}
        for n, c in classes.items()
    }
    return {**members, "": {n for n in members_ if n not in classes} - {"recorded"}}


def test_the_double_has_nothing_that_the_bindings_lack(major):
    genuine_, doubled = surface(major), double()
    beyond = {f"tensorrt.{n}" for n in doubled.pop("") if n not in genuine_["functions"]}
    assert len(doubled) >= 25
    for name, members in doubled.items():
        genuine = genuine_["classes"].get(name, {})
        beyond |= {f"{name}.{m}" for m in members if not any(m in names for names in genuine.values())}
        beyond |= set() if genuine else {name}
    assert beyond == set()
