"""Builds a TensorRT engine from an ONNX graph, with the Python API that 10.x and 11.x share. See card.py.

Networks are strongly typed: the graph decides the precision, and no flag does.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.tensorrt.host.card import EXIT_MISSING, EXIT_WRONG, Failure, Host, Messages, read_card, tensorrt_module
from stages.tensorrt.host.cuda import Cuda
from stages.tensorrt.host.run import deserialized, dtype_name, inspected, ports
from stages.tensorrt.host.timing import replaced, timing_cache

if TYPE_CHECKING:
    import tensorrt as trt

    Say = Callable[[str], object]
    Span = Sequence[Sequence[int]]

MIB = 2**20
STEPS_SHOWN = 4  # progress lines for a phase of the build: at a quarter, a half, …


@dataclass(frozen=True)
class Plan:
    """The options of an engine.

    Args:
        name: The network's name, which the engine reports: it identifies the graph.
        profiles: The optimisation profiles: input to its smallest, usual and largest shape; empty for static inputs.
        shape_values: Input whose values decide shapes, to its smallest, usual and largest values.
        types: Output types that layers must have: float32, float16, bfloat16, int8. If one is missing, `build` fails.
        workspace_mib: How much scratch memory a layer may have; None for all there is.
        optimization_level: How hard to look for fast kernels, 0 to 5; TensorRT's default is 3.
        tf32: Whether float32 may be multiplied with 10 bits of mantissa.
        verbosity: What the engine reports about its layers: detailed, layer_names_only, none.
        hardware_compatibility: Other GPUs that it must run on: none, same_compute_capability, ampere_plus.
        version_compatible: Whether later versions of TensorRT can load it.
        lean_runtime: Whether the engine then contains the runtime for that.
        strip_weights: Whether weights stay in the ONNX file, from which the engine is refitted when it is loaded.
        weight_streaming: Whether weights may stay in the host's memory.
        timing_cache: The folder with measurements of earlier builds; None for none. Another build on the same host
            without it could give the same engine.
    """

    name: str
    profiles: Sequence[Mapping[str, Span]] = ()
    shape_values: Mapping[str, Span] = field(default_factory=dict)
    types: Sequence[str] = ("float32",)
    workspace_mib: int | None = None
    optimization_level: int = 3
    tf32: bool = False
    verbosity: str = "detailed"
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    lean_runtime: bool = True
    strip_weights: bool = False
    weight_streaming: bool = False
    timing_cache: str | None = None


def build(graph: Path, plan: Plan, path: Path, cuda: Cuda, say: Say) -> dict[str, Any]:
    """Builds an engine, and writes it and its card.

    Args:
        graph: The ONNX file; its weights may be beside it.
        plan: The options of the engine.
        path: Where to write the engine; the card goes beside it, under the same name with .json.
        cuda: The GPU.
        say: Takes a line for a person.

    Returns the card. Raises Failure.
    """
    trt = tensorrt_module()
    messages, host = Messages(say), Host.here(cuda.name, cuda.compute_capability)
    trt.init_libnvinfer_plugins(messages.logger, "")
    try:
        builder = trt.Builder(messages.logger)
    except (TypeError, RuntimeError) as e:  # its bindings raise these for a null pointer
        messages.fail("TensorRT cannot build here", EXIT_MISSING, cause=e, command="nvidia-smi shows GPU and driver")
    network, understood = read(builder, graph, plan, messages)
    config = _configured(builder, plan, _monitor(trt, say))
    _add_profiles(builder, network, config, plan, messages)
    with timing_cache(config, plan.timing_cache, host, say):
        serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        messages.fail(
            "TensorRT could not build the engine",
            command="a larger workspace_mib, or a GPU with more free memory; the lines above are TensorRT's",
        )
    replaced(path, bytes(serialized))
    return carded(path, graph, plan, host, understood, messages)


def read(
    builder: trt.Builder, graph: Path, plan: Plan, messages: Messages
) -> tuple[trt.INetworkDefinition, dict[str, Any]]:
    """The network of a graph, with the requested types, and the card's facts about it. Raises Failure."""
    nodes = _covered(builder, graph, messages)
    network = _parsed(builder, graph, plan, messages)
    types = Counter(_types(network))
    _demand(plan.types, types)
    return network, {"nodes": nodes, "network": dict(types.most_common())}


def carded(
    path: Path, graph: Path, plan: Plan, host: Host, understood: Mapping[str, Any], messages: Messages
) -> dict[str, Any]:
    """Writes the card beside an engine that was built from a graph. Returns the card. Raises Failure."""
    trt = tensorrt_module()
    content = path.read_bytes()
    engine = deserialized(content, asdict(plan), messages)
    card = {
        "host": asdict(host),
        "engine": {"name": engine.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        "graph": {"sha256": hashlib.sha256(graph.read_bytes()).hexdigest(), "nodes": understood["nodes"]},
        "plan": {n: v for n, v in asdict(plan).items() if n != "timing_cache"},
        "inputs": ports(engine, output=False),
        "outputs": ports(engine, output=True),
        "network": understood["network"],
        "layers": inspected(engine),
        "stripped_bytes": engine.get_engine_stat(trt.EngineStat.STRIPPED_WEIGHTS_SIZE) if plan.strip_weights else 0,
        "streamable_bytes": engine.streamable_weights_size if plan.weight_streaming else 0,
    }
    replaced(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    return read_card(path.with_suffix(".json"))


def _covered(builder: trt.Builder, graph: Path, messages: Messages) -> int:
    """How many nodes the parser accepts, before anything is built. Raises Failure, with the nodes that it refuses."""
    trt = tensorrt_module()
    network = builder.create_network(_strongly_typed())
    parser = trt.OnnxParser(network, messages.logger)
    whole = parser.supports_model_v2(graph.read_bytes(), str(graph))
    sizes = Counter[bool]()
    for i in range(parser.num_subgraphs):
        sizes[bool(parser.is_subgraph_supported(i))] += len(parser.get_subgraph_nodes(i))
    if not whole:
        raise Failure(
            f"TensorRT's parser takes {sizes[True]} of {sizes.total()} nodes:" + _listed(errors(parser)),
            allowed="operators that the parser has, or a plugin for them",
            command="target=tensorrt_bundle reports more about the graph; another opset; a translation of the operator",
        )
    return sizes.total()


def _parsed(builder: trt.Builder, graph: Path, plan: Plan, messages: Messages) -> trt.INetworkDefinition:
    """The network of a graph. Raises Failure."""
    trt = tensorrt_module()
    network = builder.create_network(_strongly_typed())
    network.name = plan.name
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse_from_file(str(graph)):
        raise Failure(f"TensorRT cannot parse {graph.name}:" + _listed(errors(parser)))
    return network


def _demand(required: Sequence[str], counts: Mapping[str, int]) -> None:
    """Raises Failure, before the long build, for a required type that no layer of the network has."""
    if lacking := [dtype for dtype in required if dtype not in counts]:
        raise Failure(
            f"asked for {', '.join(lacking)}, and no layer of the network has it: "
            + ", ".join(f"{dtype} {n}" for dtype, n in counts.items()),
            EXIT_WRONG,
            allowed="a graph that has these types itself: TensorRT lowers nothing by itself",
            command="cast or quantise the graph before it is built",
        )


def errors(parser: trt.OnnxParser) -> list[str]:
    """The errors of a parser, node by node."""
    return [_error(parser.get_error(i)) for i in range(parser.num_errors)]


def _error(error: trt.ParserError) -> str:
    where = f"{error.node_operator()} '{error.node_name()}' (node {error.node()})" if error.node() >= 0 else "the graph"
    within = "".join(f", within {name}" for name in error.local_function_stack())
    return f"{where}{within}: {error.desc()} [{error.code().name}]"


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"\n    {line}" for line in lines or ["it says no more"])


def _strongly_typed() -> int:
    """The flag of 10.x; 11.x accepts it and is always strongly typed."""
    trt = tensorrt_module()
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _types(network: trt.INetworkDefinition) -> Iterator[str]:
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        yield from (dtype_name(layer.get_output(n).dtype) for n in range(layer.num_outputs))


def _configured(builder: trt.Builder, plan: Plan, monitor: trt.IProgressMonitor) -> trt.IBuilderConfig:
    """The builder's settings; each flag is read back. Raises Failure."""
    trt = tensorrt_module()
    config = builder.create_builder_config()
    if plan.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_mib * MIB)
    config.builder_optimization_level = plan.optimization_level
    config.profiling_verbosity = {
        "detailed": trt.ProfilingVerbosity.DETAILED,
        "layer_names_only": trt.ProfilingVerbosity.LAYER_NAMES_ONLY,
        "none": trt.ProfilingVerbosity.NONE,
    }[plan.verbosity]
    config.hardware_compatibility_level = {
        "none": trt.HardwareCompatibilityLevel.NONE,
        "same_compute_capability": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
        "ampere_plus": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
    }[plan.hardware_compatibility]
    flags = {
        trt.BuilderFlag.TF32: plan.tf32,  # on unless it is cleared
        trt.BuilderFlag.VERSION_COMPATIBLE: plan.version_compatible,
        trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME: plan.version_compatible and not plan.lean_runtime,
        trt.BuilderFlag.STRIP_PLAN: plan.strip_weights,
        trt.BuilderFlag.REFIT_IDENTICAL: plan.strip_weights,
        trt.BuilderFlag.WEIGHT_STREAMING: plan.weight_streaming,
    }
    for flag, on in flags.items():
        if on:
            config.set_flag(flag)
        else:
            config.clear_flag(flag)
        if config.get_flag(flag) != on:
            raise Failure(f"{flag.name} was set to {on}, TensorRT has it otherwise", EXIT_WRONG)
    config.progress_monitor = monitor
    return config


def _add_profiles(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig, plan: Plan, messages: Messages
) -> None:
    """Adds an optimisation profile for each set of ranges. Raises Failure."""
    inputs = {network.get_input(i).name: network.get_input(i) for i in range(network.num_inputs)}
    if unknown := {n for p in (*plan.profiles, plan.shape_values) for n in p} - inputs.keys():
        raise Failure(f"a profile names {', '.join(sorted(unknown))}", allowed=", ".join(inputs))
    for index, ranges in enumerate(plan.profiles or [{}]):
        profile = builder.create_optimization_profile()
        for name, tensor in inputs.items():
            try:
                _add_range(profile, tensor, ranges.get(name), plan.shape_values.get(name))
            except ValueError as e:
                messages.fail(f"profile {index}: TensorRT does not take {name}: {ranges.get(name)}", cause=e)
        if any(_is_dynamic(tensor) for tensor in inputs.values()) and (
            not profile or config.add_optimization_profile(profile) < 0
        ):
            messages.fail(f"profile {index} is not one that TensorRT takes: {dict(ranges)}")


def _add_range(profile: trt.IOptimizationProfile, tensor: trt.ITensor, shape: Span | None, values: Span | None) -> None:
    """One input's range in a profile. Raises Failure, and ValueError from TensorRT."""
    if tensor.is_shape_tensor:
        if values is None:
            raise Failure(
                f"the values of '{tensor.name}' decide shapes, and no setting gives them",
                allowed="the smallest, the usual and the largest values",
                command=f"'stages.compile.shape_values={{{tensor.name}: [[MIN], [OPT], [MAX]]}}'",
            )
        profile.set_shape_input(tensor.name, *values)
    elif shape is not None:
        profile.set_shape(tensor.name, *shape)
    elif _is_dynamic(tensor):
        raise Failure(f"'{tensor.name}' is {list(tensor.shape)}, and no profile says its sizes", command="model.dims")


def _is_dynamic(tensor: trt.ITensor) -> bool:
    return bool(tensor.is_shape_tensor) or -1 in list(tensor.shape)


def _monitor(trt: Any, say: Say) -> trt.IProgressMonitor:
    """Prints TensorRT's progress: a line when a phase begins, and some while it runs."""
    steps: dict[str, int] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, num_steps: int) -> None:
            steps[phase] = num_steps
            if parent is None:
                say(f"{phase}: {num_steps} steps")

        def step_complete(self, phase: str, step: int) -> bool:
            every = max(1, steps.get(phase, 0) // STEPS_SHOWN)
            if steps.get(phase, 0) >= STEPS_SHOWN and (step + 1) % every == 0:
                say(f"{phase}: {step + 1} of {steps[phase]}")
            return True  # False would end the build

        def phase_finish(self, phase: str) -> None:
            steps.pop(phase, None)

    return Monitor()
