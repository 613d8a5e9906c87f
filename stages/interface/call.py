"""How forward is called: turns named tensors into its arguments, and its result into a tuple of named tensors.

`call` in a model's YAML has `args` and `kwargs`. A string in them names an input; lists, mappings and plain values
stand for themselves; {_tuple_: […]} is a tuple and {_value_: text} a string. Without `call`, forward takes every input
in order.

    call:
      args: [{_tuple_: [query, key]}]
      kwargs: {mask: mask, need_weights: false, mode: {_value_: bilinear}}
"""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import Problem, listed, nearest
from stages.interface.interface import Interface, is_name, parameter
from stages.interface.outputs import expression

TUPLE, VALUE = "_tuple_", "_value_"
# The module that captures record for the class of `bind`. It is part of their bytes, so it stays when files move.
WRITTEN_AS = "stages._call"
INNER = "model"  # the wrapped module's name in the wrapper, and so the beginning of its parameters' names


def problems(call: Any, inputs: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with `call`, every place named."""
    if call is None:
        return []
    if unknown := [k for k in call if k not in ("args", "kwargs")]:
        return [Problem(f"call has '{unknown[0]}'", allowed="args and kwargs", command="'model.call={args: […]}'")]
    args, kwargs = call.get("args", []), call.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, Mapping):
        return [Problem(f"call is {dict(call)}", allowed="{args: [a list], kwargs: {a: mapping}}")]
    used = [*_names([args, dict(kwargs)])]
    allowed = "the names of forward's parameters"
    wrong_parts = [Problem(f"call.kwargs has '{k}'", allowed) for k in kwargs if not is_name(k)]
    for name in (n for n in used if n not in inputs):
        wrong = f"call names '{name}', which is no input{nearest(name, inputs)}"
        wrong_parts.append(Problem(wrong, listed(inputs), f"{{{VALUE}: {name}}} where the text itself is meant"))
    if unused := [n for n in inputs if n not in used]:
        wrong_parts.append(Problem(f"call uses no {listed(unused)}", "every input", f"'~model.inputs.{unused[0]}'"))
    return wrong_parts


def _names(spec: Any) -> Iterator[str]:
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, Mapping):
        if VALUE not in spec:
            for item in spec.values():
                yield from _names(item)
    elif isinstance(spec, list):
        for item in spec:
            yield from _names(item)


def source(interface: Interface) -> str:
    """The wrapper's forward as Python: one parameter for each input, a tuple with one element for each output."""
    call: Mapping[str, Any] = {"args": list(interface.inputs)} if interface.call is None else interface.call
    arguments = [_argument(a) for a in call.get("args", [])]
    arguments += [f"{name}={_argument(a)}" for name, a in call.get("kwargs", {}).items()]
    returned = ", ".join(expression("returned", tuple(o.path)) for o in interface.outputs.values())
    return (
        f"def forward(self, {', '.join(map(parameter, interface.inputs))}):\n"
        f"    returned = self.{INNER}({', '.join(arguments)})\n"
        f"    return ({returned},)\n"
    )


def _argument(spec: Any) -> str:
    if isinstance(spec, str):
        return parameter(spec)
    if isinstance(spec, list):
        return f"[{', '.join(map(_argument, spec))}]"
    if isinstance(spec, Mapping):
        if VALUE in spec:
            return repr(spec[VALUE])
        if TUPLE in spec:
            return f"({''.join(f'{_argument(a)}, ' for a in spec[TUPLE])})"
        return f"{{{', '.join(f'{k!r}: {_argument(a)}' for k, a in spec.items())}}}"
    return repr(spec)


def arguments(call: Mapping[str, Any] | None, tensors: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """forward's positional and keyword arguments, built from named tensors."""
    if call is None:
        return list(tensors.values()), {}
    kwargs = {k: _built(v, tensors) for k, v in call.get("kwargs", {}).items()}
    return [_built(a, tensors) for a in call.get("args", [])], kwargs


def _built(spec: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(spec, str):
        return tensors[spec]
    if isinstance(spec, list):
        return [_built(s, tensors) for s in spec]
    if isinstance(spec, Mapping):
        if VALUE in spec:
            return spec[VALUE]
        if TUPLE in spec:
            return tuple(_built(s, tensors) for s in spec[TUPLE])
        return {k: _built(s, tensors) for k, s in spec.items()}
    return spec


def bind(module: Any, interface: Interface) -> Any:
    """A torch.nn.Module around `module` that takes the interface's inputs in order and returns its outputs as a tuple.

    Every capture takes this one, so every target has the same inputs and outputs. Its forward is written out as source
    rather than put together from closures, because torch.jit.script compiles source.
    """
    bound = _module(source(interface))
    setattr(bound, INNER, module)
    # A new module is in training mode, whatever the mode of the one inside.
    return bound.train(module.training)


def of_function(function: Any) -> Any:
    """A torch.nn.Module that calls a torch.jit.ScriptFunction with its own parameters.

    It can be recorded, captured and scripted like any module.
    """
    types = {a.name: "torch.Tensor" if str(a.type) == "Tensor" else str(a.type) for a in function.schema.arguments}
    parameters = ", ".join(f"{name}: {kind}" for name, kind in types.items())
    called = _module(f"def forward(self, {parameters}):\n    return self.{INNER}({', '.join(types)})\n")
    setattr(called, INNER, function)
    return called


def _module(forward: str) -> Any:
    """A torch.nn.Module whose forward is written out as source, which torch.jit.script wants to read."""
    import torch

    name = f"<how the model is called, {hashlib.sha256(forward.encode()).hexdigest()[:8]}>"
    # torch reads source through inspect, which finds it here. No time stamp: it cannot become stale.
    linecache.cache[name] = (len(forward), None, forward.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"torch": torch}
    exec(compile(forward, name, "exec"), namespace)
    return type("Bound", (torch.nn.Module,), {"forward": namespace["forward"], "__module__": WRITTEN_AS})()
