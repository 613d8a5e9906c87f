"""Small models of the kinds that converters break at: each is delivered and right at inputs of its own, or refused.

tests/cases/ has one module for each: Net, SPEC (of its YAML), and inputs(rng), which yields them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import run_module
from harness import backend

from stages.coreml.mil import evaluate, read

ROOT, CASES = Path(__file__).parents[1], Path(__file__).parent / "cases"
BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino", "coreml": "coremltools"}
ONE_WAY = r"(holds only where|goes by|another at) .* capture=script, which keeps the branch"
# What is said where a case is refused, by its name and target. All others are right.
REFUSED = {
    # A script keeps the branch, and neither takes every branch of one.
    **{("wide_pages", target): ONE_WAY for target in ("openvino", "coreml")},
    **{(name, "coreml"): ONE_WAY for name in ("window_of_lengths", "single_row")},
    ("short_side", "coreml"): "another at .* capture=export, which keeps sizes open",
    # OpenVINO counts the padding that ceil mode adds.
    ("last_windows", "openvino"): "check_compile: this openvino does not agree .* 'output_1'",
    ("volumes", "openvino"): "check_compile: this openvino does not agree .* output 'output_0' has shape",
    # Its pool with a step between the elements of a window is wrong at the largest lengths.
    ("long_steps", "openvino"): "check_compile: this openvino does not agree .* 'output_3'",
    ("cells_with_projections", "coreml"): "Bidirectional simple RNN not supported",
    ("halved_until_short", "coreml"): "the trace goes the example's way alone.* while x",
    **{("layer_of_a_length", t): r"only where \(t // 5\) == 2: at batch=\d, t=2[5-9]" for t in ("onnx", "openvino")},
    ("layer_of_a_length", "coreml"): r"another at batch=\d, t=2[5-9]: .* return heads\[x\.shape\[1\] // 5\]",
    **{("seldom_dropped", target): r"with other random numbers: .* seldom_dropped\.py:\d+" for target in BACKENDS},
    **{("moving_mean", target): r"answers differ .* forward writes to 0\.mean" for target in BACKENDS},
    # Core ML's causal mask is a number that is added, and large scores outdo it; OpenVINO's whole numbers are floats.
    ("biased_attention", "coreml"): "check_compile: this coreml does not agree .* huge .* 'output_0'",
    ("hashed_ids", "openvino"): "check_compile: this openvino does not agree .* 'output_1' differs",
    ("phases", "coreml"): "no translation of aten::polar",
    ("one_number", "coreml"): "input 'step' is a scalar, and Core ML takes none",
    ("reserved_words", "coreml"): r"'state' is a word of Core ML's language .*edits\.names=",
}
CASES_BY_TARGET = [(path.stem, target) for path in sorted(CASES.glob("*.py")) for target in BACKENDS]
# Small constants that float16 does not have, beside norms, denominators and logarithms.
IN_HALF = [(name, t) for name in ("small_numbers", "quiet_channels", "next_to_nothing") for t in BACKENDS]


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"case_{name}", CASES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attempted(name: str, target: str, folder: Path, precision: str = "fp32") -> tuple[Any, Any]:
    """The eager module of a case, and what the command line said of it."""
    module = loaded(name)
    torch.manual_seed(0)
    net = module.Net().eval()
    torch.save(net.state_dict(), folder / "weights.pth")
    (folder / "conf/model").mkdir(parents=True)
    spec = yaml.safe_load((ROOT / "conf/model/custom.yaml").read_text())
    spec |= {"name": name, "factory": f"{name}.Net", "weights": "weights.pth", **module.SPEC}
    (folder / f"conf/model/{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(CASES)]), "DRYDOCK_STORE": str(folder / "store")}
    args = [f"model={name}", f"target={target}", f"precision={precision}"]
    return net, run_module("pipeline", args, folder, env)


def answers(path: Path, inputs: Mapping[str, Any]) -> list[Any]:
    if path.suffix == ".onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(path).run(None, dict(inputs))
    if path.suffix == ".xml":
        import openvino

        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        returned = compiled(dict(inputs))
        return [returned[n] for n in range(len(compiled.outputs))]
    types = {"int64": np.int32, "bool": np.float32}  # Core ML has neither
    arrays = {n: v.astype(types.get(str(v.dtype), v.dtype)) for n, v in inputs.items()}
    return list(evaluate.evaluate(read.read(path), arrays).values())


def tensors(returned: Any) -> Iterator[Any]:
    if torch.is_tensor(returned):
        yield returned.numpy()
    elif returned is not None:
        for part in returned.values() if isinstance(returned, dict) else returned:
            yield from tensors(part)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "target"), CASES_BY_TARGET)
def test_what_is_handed_over_is_right(name, target, tmp_path):
    backend(BACKENDS[target])
    net, ran = attempted(name, target, tmp_path)
    message = " ".join(ran.stderr.split())
    if refused := REFUSED.get((name, target)):
        assert ran.returncode in (2, 3, 5), message
        assert re.search(refused, message), message
        return
    assert ran.returncode == 0, message
    agrees(net, name, Path(ran.stdout.strip()), rtol=1e-3, share=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "target"), IN_HALF)
def test_small_constants_keep_their_effect_in_float16(name, target, tmp_path):
    backend(BACKENDS[target])
    net, ran = attempted(name, target, tmp_path, "fp16")
    assert ran.returncode == 0, ran.stderr
    agrees(net, name, Path(ran.stdout.strip()), rtol=1e-2, share=2e-3)


def agrees(net: Any, name: str, path: Path, rtol: float, share: float) -> None:
    """Holds what was delivered to the eager module at the case's own inputs.

    Args:
        rtol: Of each element.
        share: Of an output's largest element, what each may be off besides.
    """
    torch.backends.mha.set_fastpath_enabled(False)
    for inputs in loaded(name).inputs(np.random.default_rng(7)):
        with torch.no_grad():
            expected_outputs = list(tensors(net(*(torch.from_numpy(v) for v in inputs.values()))))
        for output, want in zip(answers(path, inputs), expected_outputs, strict=True):
            np.testing.assert_allclose(output, want, rtol=rtol, atol=share * np.abs(want).max())
