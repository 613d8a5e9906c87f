# ruff: noqa: A002 (the names of arguments are the API's)
"""Stands for TensorRT's Python API where there is none: it records what is asked of it, and runs by onnxruntime.

It has what the stages use and nothing else; tests/test_tensorrt_api.py holds each name here to the genuine bindings of
both versions. TENSORRT_DOUBLE says in JSON how it behaves, see ACTS. `calls` is what was asked, in order.
"""

import base64
import ctypes
import enum
import functools
import json
import os

__version__ = "11.4.0.106"

# version; parse: [[operator, node, reason]]; build: "fails"; profile: "refused"; ignores: a flag that cannot be set;
# layers: the type that the inspector tells of every layer; context, deserialize, execute, refit: "fails";
# init: "no GPU"; "parse late": as parse, when it was said to be supported; shape_tensors: names; sizes: "unknown"
ACTS = {"version": __version__, **json.loads(os.environ.get("TENSORRT_DOUBLE", "{}"))}
__version__ = ACTS["version"]

calls = []


def recorded(method):
    @functools.wraps(method)
    def method_(self, *args, **kwargs):
        calls.append((method.__qualname__, *args, *kwargs.values()))
        return method(self, *args, **kwargs)

    return method_


DataType = enum.IntEnum("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4", start=0)
BuilderFlag = enum.IntEnum(
    "BuilderFlag",
    "TF32 VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME STRIP_PLAN REFIT_IDENTICAL WEIGHT_STREAMING",
    start=0,
)
NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", "STRONGLY_TYPED", start=0)
MemoryPoolType = enum.IntEnum("MemoryPoolType", "WORKSPACE", start=0)
ProfilingVerbosity = enum.IntEnum("ProfilingVerbosity", "LAYER_NAMES_ONLY DETAILED NONE", start=0)
HardwareCompatibilityLevel = enum.IntEnum(
    "HardwareCompatibilityLevel", "NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY", start=0
)
LayerInformationFormat = enum.IntEnum("LayerInformationFormat", "ONELINE JSON", start=0)
TensorIOMode = enum.IntEnum("TensorIOMode", "NONE INPUT OUTPUT", start=0)
TensorLocation = enum.IntEnum("TensorLocation", "DEVICE HOST", start=0)
EngineStat = enum.IntEnum("EngineStat", "TOTAL_WEIGHTS_SIZE STRIPPED_WEIGHTS_SIZE", start=0)
ErrorCode = enum.IntEnum("ErrorCode", "SUCCESS UNSUPPORTED_NODE REFIT_FAILED", start=0)

# By ONNX's number of a type: TensorRT's, and what the engine inspector calls it.
TYPES = {
    1: (DataType.FLOAT, "Float"),
    10: (DataType.HALF, "Half"),
    16: (DataType.BF16, "BFloat16"),
    3: (DataType.INT8, "Int8"),
    2: (DataType.UINT8, "UInt8"),
    6: (DataType.INT32, "Int32"),
    7: (DataType.INT64, "Int64"),
    9: (DataType.BOOL, "Bool"),
}


class ILogger:
    Severity = enum.IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE", start=0)
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def log(self, severity, msg):
        raise NotImplementedError


class Logger(ILogger):
    def __init__(self, min_severity=ILogger.WARNING):
        pass

    def log(self, severity, msg):
        pass


class IProgressMonitor:
    def phase_start(self, phase_name, parent_phase, num_steps):
        raise NotImplementedError

    def step_complete(self, phase_name, step):
        raise NotImplementedError

    def phase_finish(self, phase_name):
        raise NotImplementedError


def init_libnvinfer_plugins(logger, namespace):
    calls.append(("init_libnvinfer_plugins", namespace))
    return True


class IHostMemory:
    __slots__ = ("_content",)

    def __init__(self, content):
        self._content = content

    def __bytes__(self):  # the genuine one offers its memory, from which bytes() copies likewise
        return self._content


class ITensor:
    __slots__ = ("dtype", "is_shape_tensor", "name", "shape")

    def __init__(self, name, dtype, shape=(), is_shape_tensor=False):
        self.name, self.dtype, self.shape, self.is_shape_tensor = name, dtype, shape, is_shape_tensor


class ILayer:
    __slots__ = ("_outputs", "num_outputs")

    def __init__(self, outputs):
        self._outputs, self.num_outputs = outputs, len(outputs)

    def get_output(self, index):
        return self._outputs[index]


class INetworkDefinition:
    __slots__ = ("_graph", "_inputs", "_layers", "_model", "_plan", "name", "num_inputs", "num_layers")

    def __init__(self):
        self._inputs, self._layers, self.name = [], [], "Unnamed Network 0"
        self.num_inputs = self.num_layers = 0

    def _take(self, path):
        """The graph of a file: inputs, a layer for each node, and what the inspector will call its type."""
        import onnx

        self._model = onnx.load(path)
        graph = onnx.shape_inference.infer_shapes(self._model).graph
        types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output, *graph.input)}
        makers = {o: n for n in graph.node for o in n.output}
        self._plan = []
        for node in graph.node:
            kinds = [types.get(o, 1) for o in node.output if o]
            self._layers.append(ILayer([ITensor(o, TYPES[k][0]) for o, k in zip(node.output, kinds, strict=False)]))
            quantised = [i for i in node.input if i in makers and makers[i].op_type == "DequantizeLinear"]
            whole = node.op_type in ("Conv", "Gemm", "MatMul") and len(quantised) >= 2
            kind = "Int8" if whole else TYPES[kinds[0]][1]
            if node.op_type not in ("DequantizeLinear", "Constant"):
                self._plan.append((node.op_type, node.name, ACTS.get("layers", kind)))
        weights = {i.name for i in graph.initializer}
        for port in graph.input:
            if port.name not in weights:
                sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in port.type.tensor_type.shape.dim]
                shapes = port.name in ACTS.get("shape_tensors", ())
                self._inputs.append(ITensor(port.name, TYPES[port.type.tensor_type.elem_type][0], sizes, shapes))
        self.num_inputs, self.num_layers = len(self._inputs), len(self._layers)

    def get_input(self, index):
        return self._inputs[index]

    def get_layer(self, index):
        return self._layers[index]


class ParserError:
    __slots__ = ("_parts",)

    def __init__(self, parts):
        self._parts = parts

    def code(self):
        return ErrorCode.UNSUPPORTED_NODE

    def desc(self):
        return self._parts[2]

    def node(self):
        return 3

    def node_name(self):
        return self._parts[1]

    def node_operator(self):
        return self._parts[0]

    def local_function_stack(self):
        return []


class _Parser:
    __slots__ = ("_wrong", "num_errors")

    def __init__(self):
        self._wrong, self.num_errors = [], 0

    def _fail(self, wrong):
        self._wrong, self.num_errors = wrong, len(wrong)
        return not wrong

    def get_error(self, index):
        return ParserError(self._wrong[index])


class OnnxParser(_Parser):
    __slots__ = ("_covered", "_network", "num_subgraphs")

    def __init__(self, network, logger):
        super().__init__()
        self._network = network

    @recorded
    def supports_model_v2(self, model, path=None):
        import onnx

        count = len(onnx.load_model_from_string(model).graph.node)
        wrong = ACTS.get("parse", [])
        self._covered = [(list(range(count - len(wrong))), True), *([([0] * len(wrong), False)] if wrong else [])]
        self.num_subgraphs = len(self._covered)
        return self._fail(wrong)

    def is_subgraph_supported(self, index):
        return self._covered[index][1]

    def get_subgraph_nodes(self, index):
        return self._covered[index][0]

    @recorded
    def parse_from_file(self, model):
        if self._fail(ACTS.get("parse late", [])):
            self._network._take(model)
            return True
        return False


class IOptimizationProfile:
    __slots__ = ("_ranges", "_values")

    def __init__(self):
        self._ranges, self._values = {}, {}

    def __bool__(self):
        return ACTS.get("profile") != "refused"

    @recorded
    def set_shape(self, input, min, opt, max):
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise ValueError(f"{input}: min <= opt <= max does not hold")
        self._ranges[input] = [list(min), list(opt), list(max)]

    @recorded
    def set_shape_input(self, input, min, opt, max):
        self._values[input] = [list(min), list(opt), list(max)]


class ITimingCache:
    __slots__ = ("_entries",)

    def __init__(self, entries):
        self._entries = entries

    @recorded
    def combine(self, input_cache, ignore_mismatch):
        self._entries = {**input_cache._entries, **self._entries}
        return True

    def serialize(self):
        return IHostMemory(json.dumps(self._entries).encode())


class IBuilderConfig:
    __slots__ = (
        "_cache", "_flags", "_pools", "_profiles", "builder_optimization_level", "hardware_compatibility_level",
        "profiling_verbosity", "progress_monitor",
    )  # fmt: skip

    def __init__(self):
        self._flags, self._profiles, self._pools, self._cache = {BuilderFlag.TF32}, [], {}, None

    @recorded
    def set_flag(self, flag):
        if flag.name != ACTS.get("ignores"):
            self._flags.add(flag)

    @recorded
    def clear_flag(self, flag):
        self._flags.discard(flag)

    def get_flag(self, flag):
        return flag in self._flags

    @recorded
    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[pool] = pool_size

    @recorded
    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    @recorded
    def create_timing_cache(self, serialized_timing_cache):
        try:
            return ITimingCache(json.loads(serialized_timing_cache or b"{}"))
        except ValueError:
            return None

    @recorded
    def set_timing_cache(self, cache, ignore_mismatch):
        if cache._entries.get("device", __version__) != __version__:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache


class Builder:
    __slots__ = ("_logger",)

    def __init__(self, logger):
        if ACTS.get("init") == "no GPU":
            logger.log(ILogger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    @recorded
    def create_network(self, flags=0):
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    @recorded
    def build_serialized_network(self, network, config):
        self._logger.log(ILogger.WARNING, "half of this is slow")
        config.progress_monitor.phase_start("Building Engine", None, 8)
        for step in range(8):
            config.progress_monitor.step_complete("Building Engine", step)
        config.progress_monitor.phase_finish("Building Engine")
        dynamic = any(-1 in t.shape or t.is_shape_tensor for t in network._inputs)
        if ACTS.get("build") == "fails" or (dynamic and not config._profiles):
            self._logger.log(ILogger.ERROR, "Could not find any implementation for node {ForeignNode[/conv]}")
            return None
        if config._cache is not None:
            config._cache._entries |= {"device": __version__, network.name: "measured"}
        stripped = config.get_flag(BuilderFlag.STRIP_PLAN)
        plan = {
            "version": __version__,
            "name": network.name,
            "model": None if stripped else base64.b64encode(network._model.SerializeToString()).decode(),
            "layers": [{"Name": n, "LayerType": o, "Outputs": [{"Format/Datatype": t}]} for o, n, t in network._plan],
            "verbosity": config.profiling_verbosity,
            "level": config.hardware_compatibility_level,
            "flags": sorted(f.name for f in config._flags),
            "ranges": [p._ranges for p in config._profiles],
            "ports": _ports(network),
        }
        return IHostMemory(json.dumps(plan).encode())


def _ports(network):
    graph = network._model.graph
    ports = {t.name: [TensorIOMode.INPUT, t.dtype, list(t.shape), t.is_shape_tensor] for t in network._inputs}
    for port in graph.output:
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in port.type.tensor_type.shape.dim]
        ports[port.name] = [TensorIOMode.OUTPUT, TYPES[port.type.tensor_type.elem_type][0], sizes, False]
    return ports


class Runtime:
    __slots__ = ("_logger", "engine_host_code_allowed")

    def __init__(self, logger):
        self._logger, self.engine_host_code_allowed = logger, False

    @recorded
    def deserialize_cuda_engine(self, serialized_engine):
        plan = json.loads(serialized_engine)
        brings_code = {"VERSION_COMPATIBLE"} == {"VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"} & {*plan["flags"]}
        if ACTS.get("deserialize") == "fails" or (brings_code and not self.engine_host_code_allowed):
            self._logger.log(ILogger.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization")
            return None
        return ICudaEngine(plan)


class ICudaEngine:
    __slots__ = (
        "_model", "_plan", "device_memory_size_v2", "hardware_compatibility_level", "name", "num_io_tensors",
        "num_optimization_profiles", "profiling_verbosity", "refittable", "streamable_weights_size",
        "weight_streaming_budget_v2",
    )  # fmt: skip

    def __init__(self, plan):
        self._plan, self.name = plan, plan["name"]
        self._model = base64.b64decode(plan["model"]) if plan["model"] else None
        self.num_io_tensors, self.num_optimization_profiles = len(plan["ports"]), max(1, len(plan["ranges"]))
        self.hardware_compatibility_level = HardwareCompatibilityLevel(plan["level"])
        self.profiling_verbosity = ProfilingVerbosity(plan["verbosity"])
        self.refittable, self.device_memory_size_v2, self.streamable_weights_size = "STRIP_PLAN" in plan["flags"], 64, 9

    def get_tensor_name(self, index):
        return [*self._plan["ports"]][index]

    def get_tensor_mode(self, name):
        return TensorIOMode(self._plan["ports"][name][0])

    def get_tensor_dtype(self, name):
        return DataType(self._plan["ports"][name][1])

    def get_tensor_shape(self, name):
        return tuple(self._plan["ports"][name][2])

    def get_tensor_location(self, name):
        return TensorLocation.HOST if self._plan["ports"][name][3] else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        fixed = [self._plan["ports"][name][2]] * 3
        return self._plan["ranges"][profile_index].get(name, fixed) if self._plan["ranges"] else fixed

    def get_engine_stat(self, stat):
        return 4096

    def get_weight_streaming_automatic_budget(self):
        return 5

    def create_engine_inspector(self):
        return EngineInspector(self._plan)

    @recorded
    def create_execution_context(self):
        return None if ACTS.get("context") == "fails" else IExecutionContext(self)


class EngineInspector:
    __slots__ = ("_plan",)

    def __init__(self, plan):
        self._plan = plan

    def get_engine_information(self, format):
        detailed = self._plan["verbosity"] == ProfilingVerbosity.DETAILED
        layers = self._plan["layers"] if detailed else [layer["Name"] for layer in self._plan["layers"]]
        return json.dumps({"Layers": layers, "Bindings": []})


class Refitter:
    __slots__ = ("_engine", "_model")

    def __init__(self, engine, logger):
        self._engine, self._model = engine, None

    def get_missing_weights(self):
        return [] if self._model else ["conv.weight"]

    @recorded
    def refit_cuda_engine(self):
        self._engine._model = self._model
        return True


class OnnxParserRefitter(_Parser):
    __slots__ = ("_refitter",)

    def __init__(self, refitter, logger):
        super().__init__()
        self._refitter = refitter

    @recorded
    def refit_from_file(self, model):
        import onnx

        if ACTS.get("refit") == "fails":
            return self._fail([["Conv", "conv", "its weights have another shape"]])
        self._refitter._model = onnx.load(model).SerializeToString()
        return True


def _runnable(content):
    """The graph as onnxruntime's CPU can run it, which has no kernels for bfloat16."""
    import onnx

    model = onnx.load_model_from_string(content)
    if all(i.data_type != onnx.TensorProto.BFLOAT16 for i in model.graph.initializer):
        return content
    from stages.onnx.bfloat16 import emulate

    return emulate(model).SerializeToString()


class IExecutionContext:
    __slots__ = ("_addresses", "_engine", "_session", "_shapes", "active_optimization_profile")

    def __init__(self, engine):
        self._engine, self._shapes, self._addresses, self._session = engine, {}, {}, None
        self.active_optimization_profile = 0

    @recorded
    def set_optimization_profile_async(self, profile_index, stream_handle):
        self.active_optimization_profile = profile_index
        return True

    @recorded
    def set_input_shape(self, name, shape):
        self._shapes[name] = shape
        return True

    @recorded
    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def infer_shapes(self):
        return [n for n, port in self._engine._plan["ports"].items() if port[0] == 1 and n not in self._shapes]

    def get_tensor_shape(self, name):
        return self._run()[name].shape if ACTS.get("sizes") != "unknown" else (-1, 4)

    @recorded
    def execute_async_v3(self, stream_handle):
        if ACTS.get("execute") == "fails":
            return False
        for name, array in self._run().items():
            ctypes.memmove(self._addresses[name], array.ctypes.data, array.nbytes)
        return True

    def _run(self):
        import numpy as np
        import onnxruntime

        self._session = self._session or onnxruntime.InferenceSession(_runnable(self._engine._model))
        types = {"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(int32)": "i4", "tensor(float16)": "f2"}
        fed = {}
        for port in self._session.get_inputs():
            array = np.empty(self._shapes[port.name], types[port.type])
            ctypes.memmove(array.ctypes.data, self._addresses[port.name], array.nbytes)
            fed[port.name] = array
        names = [o.name for o in self._session.get_outputs()]
        return dict(zip(names, map(np.ascontiguousarray, self._session.run(names, fed)), strict=True))
