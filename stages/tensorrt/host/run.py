"""Runs a TensorRT engine, of 10.x or 11.x, after verifying it against the card beside it. See card.py."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.tensorrt.host.card import (
    EXIT_WRONG,
    Failure,
    Host,
    Messages,
    computes_in,
    layer_types,
    read_card,
    refuse,
    tensorrt_module,
)
from stages.tensorrt.host.cuda import Buffer, Cuda

if TYPE_CHECKING:
    import numpy as np
    import tensorrt as trt

    Arrays = Mapping[str, np.ndarray[Any, Any]]


class Engine:
    """An engine that is ready to run.

    Attributes:
        card: Its portability card.
        layers: How many of its layers have each output type, as the engine reports.
        computes_in: The floating-point output type of most layers.
        properties: Its properties, read back from TensorRT, by TensorRT's own names.
    """

    def __init__(self, path: Path, cuda: Cuda, say: Callable[[str], object]) -> None:
        """Loads it.

        Args:
            path: The engine, with its card beside it, and the ONNX file where its weights were stripped, all under one
                name: net.engine, net.json, net.onnx.
            cuda: The GPU.
            say: Takes a line for a person.

        Raises Failure.
        """
        self.card = read_card(path.with_suffix(".json"))
        refuse(self.card, Host.here(cuda.name, cuda.compute_capability), path)
        self._cuda, self._messages = cuda, Messages(say)
        self._engine: trt.ICudaEngine = deserialized(path.read_bytes(), self.card["plan"], self._messages)
        if self.card["plan"]["strip_weights"]:
            _refit(self._engine, path.with_suffix(".onnx"), self.card, self._messages)
        if self.card["plan"]["weight_streaming"]:
            self._engine.weight_streaming_budget_v2 = self._engine.get_weight_streaming_automatic_budget()
        self._context: trt.IExecutionContext = self._engine.create_execution_context()
        if self._context is None:
            self._messages.fail(f"{path.name} cannot be made ready to run", command="a GPU with more free memory")
        self.layers = inspected(self._engine)
        # Networks are strongly typed, so an engine that reports no types computes in those of its network.
        self.computes_in = computes_in(self.layers or self.card["network"])
        self.properties = _read_back(self._engine)

    def __call__(self, inputs: Arrays) -> Arrays:
        """Outputs by name for inputs by name. Raises Failure."""
        outputs, run = self._set(inputs)
        run()
        return {name: self._cuda.get(buffer) for name, buffer in outputs.items()}

    def prepare(self, inputs: Arrays) -> Callable[[], None]:
        """A function that runs one complete inference on inputs that stay on the GPU. Both raise Failure."""
        _, run = self._set(inputs)

        def once() -> None:
            run()
            self._cuda.wait()

        return once

    def _set(self, inputs: Arrays) -> tuple[dict[str, Buffer], Callable[[], None]]:
        """Copies the inputs to the GPU. Returns the memory for the outputs, and a function that runs the engine."""
        expected = ports(self._engine, output=False)
        if inputs.keys() != expected.keys():
            raise Failure(f"the inputs are {', '.join(inputs)}", allowed=", ".join(expected))
        profile = _profile(self._engine, {n: a.shape for n, a in inputs.items()})
        if profile != self._context.active_optimization_profile:
            self._expect(self._context.set_optimization_profile_async(profile, self._cuda.stream), f"profile {profile}")
            self._cuda.wait()
        feeds = [self._feed(name, array, expected[name]["dtype"]) for name, array in inputs.items()]
        if lacking := self._context.infer_shapes():
            raise Failure(f"TensorRT does not know the shapes of {', '.join(lacking)} yet")
        outputs = {name: self._room(name, port["dtype"]) for name, port in ports(self._engine, output=True).items()}

        def run(alive: object = (feeds, outputs)) -> None:
            self._expect(self._context.execute_async_v3(self._cuda.stream), "the inference")

        return outputs, run

    def _feed(self, name: str, array: np.ndarray[Any, Any], dtype: str) -> object:
        """Sets an input's shape and memory. Returns the object that keeps the memory alive."""
        if array.dtype.name != dtype:
            raise Failure(f"the input '{name}' is {array.dtype.name}", allowed=dtype)
        self._expect(self._context.set_input_shape(name, tuple(array.shape)), f"{name} of shape {list(array.shape)}")
        if _on_host(self._engine, name):  # its values decide shapes
            array = array.copy()
            self._expect(self._context.set_tensor_address(name, array.ctypes.data), name)
            return array
        buffer = self._cuda.put(array)
        self._expect(self._context.set_tensor_address(name, buffer.address), name)
        return buffer

    def _room(self, name: str, dtype: str) -> Buffer:
        shape = [int(n) for n in self._context.get_tensor_shape(name)]
        if min(shape, default=0) < 0:
            raise Failure(
                f"the size of the output '{name}' depends on values, not on shapes alone: {shape}",
                allowed="outputs whose sizes the inputs' shapes decide",
                command="a model that pads its results to a fixed number",
            )
        buffer = self._cuda.room(shape, dtype)
        self._expect(self._context.set_tensor_address(name, buffer.address), name)
        return buffer

    def _expect(self, well: bool, what: str) -> None:
        if not well:
            self._messages.fail(f"TensorRT refuses {what}")


def deserialized(plan: bytes, settings: Mapping[str, Any], messages: Messages) -> trt.ICudaEngine:
    """The engine in the bytes of a plan file. Raises Failure."""
    trt = tensorrt_module()
    runtime = trt.Runtime(messages.logger)
    # Such an engine contains a runtime, which is code.
    runtime.engine_host_code_allowed = bool(settings["version_compatible"] and settings["lean_runtime"])
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        messages.fail("TensorRT does not take the engine", command="build it again on this host")
    return engine


def inspected(engine: trt.ICudaEngine) -> dict[str, int]:
    """How many layers have each output type; see `layer_types`."""
    trt = tensorrt_module()
    inspector = engine.create_engine_inspector()
    return layer_types(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def ports(engine: trt.ICudaEngine, *, output: bool) -> dict[str, dict[str, Any]]:
    """The inputs or the outputs: shape, with -1 for a dynamic dimension, and dtype by numpy's name."""
    trt = tensorrt_module()
    mode = trt.TensorIOMode.OUTPUT if output else trt.TensorIOMode.INPUT
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    return {
        name: {
            "shape": [int(n) for n in engine.get_tensor_shape(name)],
            "dtype": dtype_name(engine.get_tensor_dtype(name)),
        }
        for name in names
        if engine.get_tensor_mode(name) == mode
    }


def dtype_name(dtype: trt.DataType) -> str:
    """numpy's name for one of TensorRT's types, or the usual name where numpy has none."""
    trt = tensorrt_module()
    names = {
        trt.DataType.FLOAT: "float32",
        trt.DataType.HALF: "float16",
        trt.DataType.BF16: "bfloat16",
        trt.DataType.INT64: "int64",
        trt.DataType.INT32: "int32",
        trt.DataType.INT8: "int8",
        trt.DataType.UINT8: "uint8",
        trt.DataType.BOOL: "bool",
        trt.DataType.FP8: "float8",
        trt.DataType.INT4: "int4",
    }
    return names.get(dtype, str(dtype))


def _profile(engine: trt.ICudaEngine, shapes: Mapping[str, Sequence[int]]) -> int:
    """The first optimisation profile that accepts the shapes. Raises Failure."""
    spans: dict[str, list[str]] = {}
    for index in range(engine.num_optimization_profiles):
        fits = True
        for name, shape in shapes.items():
            if _on_host(engine, name):
                continue
            low, _, high = engine.get_tensor_profile_shape(name, index)
            spans.setdefault(name, []).append(f"{list(low)} to {list(high)}")
            fits &= len(shape) == len(low) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))
        if fits:
            return index
    raise Failure(
        f"no profile of the engine accepts {', '.join(f'{n} {list(s)}' for n, s in shapes.items())}",
        allowed="; ".join(f"{name} {' or '.join(ranges)}" for name, ranges in spans.items()),
        command="build it with these sizes in dims or profiles",
    )


def _on_host(engine: trt.ICudaEngine, name: str) -> bool:
    trt = tensorrt_module()
    return bool(engine.get_tensor_location(name) == trt.TensorLocation.HOST)


def _refit(engine: trt.ICudaEngine, graph: Path, card: Mapping[str, Any], messages: Messages) -> None:
    """Loads the weights that were stripped from an engine. Raises Failure."""
    trt = tensorrt_module()
    if not graph.is_file() or hashlib.sha256(graph.read_bytes()).hexdigest() != card["graph"]["sha256"]:
        raise Failure(
            f"the engine's weights come from {graph.name}, which {'differs' if graph.is_file() else 'is missing'}",
            EXIT_WRONG,
            command=f"copy {graph.name} and its weights file beside the engine",
        )
    refitter = trt.Refitter(engine, messages.logger)
    parser = trt.OnnxParserRefitter(refitter, messages.logger)
    if not parser.refit_from_file(str(graph)):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        messages.fail(f"the weights of {graph.name} do not fit the engine: {errors}")
    if lacking := refitter.get_missing_weights():
        raise Failure(f"{graph.name} lacks weights of the engine: {', '.join(lacking[:10])}")
    if not refitter.refit_cuda_engine():
        messages.fail(f"the engine does not take the weights of {graph.name}")


def _read_back(engine: trt.ICudaEngine) -> dict[str, str]:
    """The properties that an engine reports."""
    return {
        "name": str(engine.name),
        "hardware_compatibility_level": str(engine.hardware_compatibility_level.name),
        "profiling_verbosity": str(engine.profiling_verbosity.name),
        "num_optimization_profiles": str(engine.num_optimization_profiles),
        "refittable": str(engine.refittable),
        "device_memory_size_v2": str(engine.device_memory_size_v2),
        "streamable_weights_size": str(engine.streamable_weights_size),
    }
