"""Builds a TensorRT engine with trtexec, for hosts that have it. See card.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.tensorrt.host.build import Plan, carded, read
from stages.tensorrt.host.card import EXIT_MISSING, Failure, Host, Messages, tensorrt_module
from stages.tensorrt.host.cuda import Cuda
from stages.tensorrt.host.timing import timing_file

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST = 8  # lines of trtexec's output in a failure


def build_by_trtexec(
    trtexec: str, graph: Path, plan: Plan, path: Path, cuda: Cuda, say: Callable[[str], object]
) -> dict[str, Any]:
    """Builds as `build` does, with the given trtexec. Returns the card. Raises Failure.

    Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/command-line-programs.html
    """
    trt = tensorrt_module()
    messages, host = Messages(say), Host.here(cuda.name, cuda.compute_capability)
    if len(plan.profiles) > 1 or plan.shape_values:
        raise Failure(
            f"trtexec cannot build {len(plan.profiles)} profiles, {len(plan.shape_values)} of them by values",
            allowed="one profile of shapes",
            command="--with python",
        )
    try:
        builder = trt.Builder(messages.logger)
    except (TypeError, RuntimeError) as e:  # its bindings raise these for a null pointer
        messages.fail("TensorRT cannot build here", EXIT_MISSING, cause=e, command="nvidia-smi shows GPU and driver")
    _, understood = read(builder, graph, plan, messages)
    command = [trtexec, *_flags(graph, plan, path, host)]
    say(" ".join(command))
    path.unlink(missing_ok=True)  # an engine from an earlier build must not pass for this one
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as e:
        raise Failure(
            f"{trtexec} cannot be run: {e.strerror}",
            EXIT_MISSING,
            allowed="trtexec of the same TensorRT; it is not in the Python wheel",
            command="--trtexec PATH, or --with python",
        ) from e
    if done.returncode or not path.is_file():
        errors = [
            line for line in (done.stdout + done.stderr).splitlines() if "[E]" in line
        ] or done.stderr.splitlines()
        lines = "".join(f"\n    {line}" for line in errors[-LAST:])
        raise Failure(f"trtexec ended with {done.returncode} and no engine:{lines}")
    return carded(path, graph, plan, host, understood, messages)


def _flags(graph: Path, plan: Plan, path: Path, host: Host) -> Iterator[str]:
    yield from (f"--onnx={graph}", f"--saveEngine={path}", "--skipInference")
    if host.tensorrt.startswith("10."):  # 11 is always strongly typed
        yield "--stronglyTyped"
    if plan.profiles:
        for place, name in enumerate(("minShapes", "optShapes", "maxShapes")):
            yield f"--{name}=" + ",".join(f"{n}:{_shape(spans[place])}" for n, spans in plan.profiles[0].items())
    yield f"--builderOptimizationLevel={plan.optimization_level}"
    yield f"--profilingVerbosity={plan.verbosity}"
    if plan.workspace_mib is not None:
        yield f"--memPoolSize=workspace:{plan.workspace_mib}"
    if plan.timing_cache is not None:
        yield f"--timingCacheFile={timing_file(plan.timing_cache, host)}"
    levels = {"none": "none", "same_compute_capability": "sameComputeCapability", "ampere_plus": "ampere+"}
    yield f"--hardwareCompatibilityLevel={levels[plan.hardware_compatibility]}"
    for flag, on in (
        ("noTF32", not plan.tf32),
        ("versionCompatible", plan.version_compatible),
        ("excludeLeanRuntime", plan.version_compatible and not plan.lean_runtime),
        ("stripWeights", plan.strip_weights),
        ("allowWeightStreaming", plan.weight_streaming),
    ):
        if on:
            yield f"--{flag}"


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
