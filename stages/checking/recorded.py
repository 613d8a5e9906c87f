"""Records what a model computes, operator by operator: each result, its sources, and its line in the code."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.capture import unsupported
from stages.formats import graphs
from stages.formats.inner import Inner
from stages.interface import outputs
from stages.interface.interface import Interface
from stages.reference.eager_model import EagerModel

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

INPUT = "input"
# Takes the number of a result and its values; returns the values to continue with in their place, or None.
Follow = Callable[[int, "Array"], "Array | None"]


class TooLarge(Exception):
    """The values inside a model take more memory than they may."""


@dataclass(frozen=True)
class Result:
    """A result of one call of an operator that depends on the model's inputs, or such an input.

    Args:
        operator: Such as aten.conv2d; the file's own operator where a file is the model; INPUT for an input.
        module: The name of the module that called it; empty for the model itself, and where that is not known.
        place: The model's line; empty where that is not known.
        sources: The numbers of the results that it was computed from.
        moves: Whether it shares memory with one of them: it has the same numbers, or some of them.
        into_part: Whether it was written into a part of a tensor, such as a row.
    """

    operator: str
    module: str
    place: str
    sources: Sequence[int]
    moves: bool = False
    into_part: bool = False


@dataclass(frozen=True)
class Recording:
    """The results inside a model at one input, in the order in which they were computed.

    Args:
        results: The results, by number.
        outputs: The numbers of those that the model returns.
    """

    results: Sequence[Result]
    outputs: Sequence[int]


class EagerRecorder:
    """Runs a module and records the operators that its code calls, not those that an operator is made of."""

    def __init__(self, module: Any, interface: Interface, arrays: Mapping[str, Array]) -> None:
        self._module, self._interface, self._arrays = module, interface, arrays
        self._ask = EagerModel(module, interface.call)
        self._earlier: Sequence[Result] = ()  # finding the line of each takes time, and it is always the same

    def record(self, follow: Follow, most: float = math.inf) -> Recording:
        """Runs it once.

        Args:
            follow: Called with each result as it is computed.
            most: Bytes that the results may take. Raises TooLarge beyond.
        """
        import torch

        results = _Results(follow, most, self._module, self._earlier)
        tensors = {n: torch.from_numpy(v.copy()) for n, v in self._arrays.items()}
        for name, tensor in tensors.items():
            results.input(name, tensor)
        with _mode(results):
            returned = self._ask.call(tensors)
        self._earlier = results.results
        ends = [outputs.at(returned, tuple(o.path)) for o in self._interface.outputs.values()]
        return Recording(results.results, [n for end in ends for n in results.sources(end)])


class GraphRecorder:
    """The values of a graph that is itself the model, node by node."""

    def __init__(self, artifact: Artifact, inner: Inner, inputs: Mapping[str, Array]) -> None:
        self._graph, self._inner, self._inputs = graphs.read(artifact), inner, inputs

    def record(self, follow: Follow, most: float = math.inf) -> Recording:
        """As EagerRecorder does; what `follow` returns is ignored."""
        size = sum(v.nbytes for values in self._inner.values.values() for v in values)
        if size > most:
            raise TooLarge(size)
        results = [Result(f"{INPUT} '{name}'", "", "", ()) for name in self._inputs]
        numbers: dict[str, list[int]] = {name: [n] for n, name in enumerate(self._inputs)}
        for number, array in enumerate(self._inputs.values()):
            follow(number, array)
        for name, values in self._inner.values.items():
            node = self._graph.nodes[name]
            sources = [n for s in node.sources for n in numbers.get(s, ())]
            numbers[name] = []
            for array in values:
                numbers[name].append(len(results))
                results.append(Result(f"{node.type} '{name}'", "", "", sources, node.type in graphs.MOVES))
                follow(numbers[name][-1], array)
        ends = [n for name in self._graph.results for n in numbers.get(name, ())]
        return Recording(results, ends)


class _Results:
    """The results of a run so far.

    It keeps every tensor alive, so that no later tensor at the same address is mistaken for it.
    """

    def __init__(self, follow: Follow, most: float, module: Any, earlier: Sequence[Result]) -> None:
        self.results: list[Result] = []
        self._follow, self._bytes_left, self._most, self._earlier = follow, most, most, earlier
        self._names = {id(m): name for name, m in module.named_modules() if name}
        self._alive: list[Any] = []
        self._by_tensor: dict[int, int] = {}  # by a tensor's id, the result that it is
        self._written: dict[int, int] = {}  # by a memory's address, the last result that was written to it
        self._whole: dict[int, Any] = {}  # by a memory's address, the tensor that all of it is

    def input(self, name: str, tensor: Any) -> None:
        """An input of the model."""
        self._add(Result(f"{INPUT} '{name}'", "", "", ()), tensor, fresh=True)

    def sources(self, tensor: Any) -> list[int]:
        """The results that a tensor holds: its own, and the last one written to its memory."""
        numbers = {self._by_tensor.get(id(tensor)), self._written.get(_memory(tensor))}
        return sorted(n for n in numbers if n is not None)

    def call(self, function: Any, args: Any, kwargs: Any, frame: Any) -> Any:
        """Calls an operator and records its results."""
        from torch.utils._pytree import tree_leaves, tree_map

        tensors = [t for t in tree_leaves((args, kwargs)) if _is_plain(t)]
        sources = sorted({n for t in tensors for n in self.sources(t)})
        memories = {_memory(t) for t in tensors}
        returned = function(*args, **kwargs)
        if not sources:
            return returned
        written = [t for t in _written(function, args, kwargs) if _is_plain(t)]
        for tensor in written:
            result = self._result(function, sources, frame, False)
            whole = self._whole.get(_memory(tensor), tensor)
            self._add(replace(result, into_part=tensor.numel() < whole.numel()), tensor, fresh=False)
        replaced: dict[int, Any] = {}
        for tensor in tree_leaves(returned):
            if _is_plain(tensor) and not any(tensor is w for w in written):
                moves = _memory(tensor) in memories
                instead = self._add(self._result(function, sources, frame, moves), tensor, fresh=not moves)
                if instead is not None:
                    replaced[id(tensor)] = instead
        return tree_map(lambda t: replaced.get(id(t), t), returned) if replaced else returned

    def _result(self, function: Any, sources: Sequence[int], frame: Any, moves: bool) -> Result:
        name, earlier = _name(function), self._earlier[len(self.results) : len(self.results) + 1]
        if earlier and earlier[0].operator == name:  # else the values led the code another way
            return replace(earlier[0], sources=sources, moves=moves, into_part=False)
        return Result(name, self._module(frame), unsupported.place_at(frame), sources, moves)

    def _module(self, frame: Any) -> str:
        """The innermost module that runs, by its name in the model."""
        import torch

        calls = (torch.nn.Module._call_impl.__code__, torch.nn.Module._wrapped_call_impl.__code__)
        while frame is not None:
            if frame.f_code in calls:
                return str(self._names.get(id(frame.f_locals.get("self")), ""))
            frame = frame.f_back
        return ""

    def _add(self, result: Result, tensor: Any, *, fresh: bool) -> Any:
        """Adds a result; returns a tensor to continue with instead, where its numbers cannot be written into it."""
        import torch

        number, memory = len(self.results), _memory(tensor)
        self.results.append(result)
        self._by_tensor[id(tensor)] = number
        self._alive.append(tensor)
        if fresh:
            self._whole[memory] = tensor
            self._bytes_left -= tensor.numel() * tensor.element_size()
            if self._bytes_left < 0:
                raise TooLarge(f"the values inside the model take more than {self._most / 2**30:.0f} GiB")
        elif not result.moves:
            self._written[memory] = number
            tensor = self._whole.get(memory, tensor)
        if (values := _array(tensor)) is None or (instead := self._follow(number, values)) is None:
            return None
        numbers = torch.from_numpy(instead.copy()).reshape(tensor.shape).to(tensor.dtype)
        if not result.moves:
            tensor.copy_(numbers)
            return None
        self._by_tensor[id(numbers)] = number
        self._alive.append(numbers)
        return numbers


def _mode(results: _Results) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return results.call(func, args, kwargs or {}, sys._getframe(1))

    return Mode()  # type: ignore[no-untyped-call]


def _name(function: Any) -> str:
    """Such as aten.conv2d for an overload; the function's own name where there is none, as for torch.cond."""
    packet = getattr(function, "overloadpacket", None)
    return str(packet or function)


def _written(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    """The tensors that an operator writes to."""
    schema = getattr(function, "_schema", None)
    for place, argument in enumerate(schema.arguments if schema is not None and schema.is_mutable else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield args[place] if place < len(args) else kwargs.get(argument.name)


def _is_plain(value: Any) -> bool:
    """Whether this is a dense tensor in memory: not a sparse or nested one."""
    import torch

    return torch.is_tensor(value) and value.layout is torch.strided and value.device.type == "cpu"


def _memory(tensor: Any) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


def _array(tensor: Any) -> Array | None:
    import torch

    if tensor.is_complex() or tensor.is_quantized or not tensor.numel():
        return None
    array: Array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor.detach()).numpy()
    return array
