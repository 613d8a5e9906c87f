"""The digest of a module in memory: the code of its classes, their attributes, and its tensors."""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError

# From the import path of a module to what identifies its code: World.code.
Code = Callable[[str], Mapping[str, str]]
# Attributes that forward does not read.
LEFT_OUT = ("training",)


def digest(module: Any, code: Code) -> str:
    """64 hex digits, equal for equal modules in every process.

    Installed packages count by their versions, the user's own packages by their source, and what a notebook or a script
    defines by its bytecode and everything that this refers to. A value that cannot be identified, such as a lock, makes
    each digest different.

    Args:
        module: A torch.nn.Module.
        code: Returns what identifies the code of an importable module; raises ConfigError where nothing does.
    """
    sha256 = hashlib.sha256()
    for part in _Walk(code).chunks(module):
        sha256.update(part)
        sha256.update(b"\0")
    return sha256.hexdigest()


class _Walk:
    """Goes through everything that an object refers to, each once."""

    def __init__(self, code: Code) -> None:
        self._identify = code
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no id is given twice

    def chunks(self, value: Any) -> Iterator[bytes]:
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            yield f"{type(value).__name__} {value!r}".encode(errors="surrogatepass")
        elif id(value) in self._numbers:
            yield f"again {self._numbers[id(value)]}".encode()
        else:
            self._numbers[id(value)] = len(self._numbers)
            self._alive.append(value)
            yield from self._new_chunks(value)

    def _new_chunks(self, value: Any) -> Iterator[bytes]:
        import torch

        if isinstance(value, torch.Tensor):
            yield from self._tensor(value)
        elif isinstance(value, torch.nn.Module):
            yield b"module"
            yield from self._class(type(value))
            yield from self.chunks(
                {k: v for k, v in sorted(vars(value).items()) if k not in LEFT_OUT and not _empty(v)}
            )
        elif isinstance(value, (torch.dtype, torch.device, torch.layout, torch.memory_format)):
            yield str(value).encode()
        elif isinstance(value, Mapping):
            yield f"mapping {len(value)}".encode()
            for key, item in value.items():
                yield from self.chunks(key)
                yield from self.chunks(item)
        elif isinstance(value, (list, tuple)):
            yield f"{type(value).__name__} {len(value)}".encode()
            for item in value:
                yield from self.chunks(item)
        elif isinstance(value, (set, frozenset)):
            yield from self.chunks(sorted(map(repr, value)))
        elif isinstance(value, enum.Enum):
            yield f"{type(value).__qualname__}.{value.name}".encode()
        elif isinstance(value, types.ModuleType):
            yield from self._place(value.__name__)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, functools.partial):
            yield from self.chunks((value.func, value.args, dict(value.keywords)))
        elif isinstance(value, types.MethodType):
            yield from self.chunks((value.__func__, value.__self__))
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, types.CodeType):
            yield from self._code(value)
        elif isinstance(value, (staticmethod, classmethod)):
            yield from self.chunks(value.__func__)
        elif isinstance(value, property):
            yield from self.chunks((value.fget, value.fset))
        elif isinstance(value, (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)):
            yield f"builtin {getattr(value, '__module__', '')} {value.__qualname__}".encode()
        else:
            yield from self._object(value)

    def _tensor(self, value: Any) -> Iterator[bytes]:
        import torch

        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        try:
            plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            yield hashlib.sha256(plain.numpy()).digest()
        except Exception:  # sparse, quantised or of another library
            yield uuid.uuid4().bytes

    def _object(self, value: Any) -> Iterator[bytes]:
        """The parts into which pickle would take it apart."""
        if hasattr(value, "__array__"):
            yield from self._array(value)
            return
        yield from self._class(type(value))
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:  # a lock, an open file
            yield uuid.uuid4().bytes
            return
        if isinstance(reduced, str):
            yield reduced.encode()
            return
        make, args, *rest = reduced
        yield from self.chunks((make, args))
        for state in rest:
            yield from self.chunks(list(state) if isinstance(state, Iterator) else state)

    def _array(self, value: Any) -> Iterator[bytes]:
        import numpy as np

        array = np.asarray(value)
        if array.dtype.hasobject:
            yield from self.chunks(array.tolist())
            return
        yield f"array {array.dtype} {array.shape}".encode()
        yield hashlib.sha256(array.tobytes()).digest()

    def _class(self, value: type) -> Iterator[bytes]:
        yield f"class {value.__qualname__}".encode()
        for base in value.__mro__:
            if base is object:
                continue
            if base.__module__ != "__main__":
                yield from self._place(base.__module__)
                if base.__module__.partition(".")[0] in ("torch", "builtins", "typing", "abc", "collections"):
                    break  # its own bases are part of that package
                continue
            for name, item in sorted(vars(base).items()):
                if not (name.startswith("__") and not callable(item)) and name not in ("__weakref__", "__dict__"):
                    yield name.encode()
                    yield from self.chunks(item)

    def _place(self, module: str) -> Iterator[bytes]:
        """The code behind an importable module: a version, or the digest of its source."""
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "builtins":
            yield f"{module} of Python {sys.version_info[:2]}".encode()
            return
        try:
            yield repr(sorted(self._identify(module).items())).encode()
        except ConfigError:  # made by a program while it runs
            yield uuid.uuid4().bytes
        yield module.encode()

    def _function(self, value: types.FunctionType) -> Iterator[bytes]:
        if value.__module__ != "__main__" and value.__closure__ is None:
            yield f"function {value.__qualname__}".encode()
            yield from self._place(value.__module__ or "__main__")
            return
        yield from self._code(value.__code__)
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        yield from self.chunks((value.__defaults__, value.__kwdefaults__, cells))
        for name in sorted(_names(value.__code__)):
            if name in value.__globals__:
                yield name.encode()
                yield from self.chunks(value.__globals__[name])

    def _code(self, value: types.CodeType) -> Iterator[bytes]:
        yield value.co_code
        yield repr((value.co_names, value.co_varnames, value.co_freevars)).encode()
        yield from self.chunks(value.co_consts)


def _names(code: types.CodeType) -> set[str]:
    """The names that a function's code, and functions inside of it, may look up in the module."""
    inside = (_names(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return {*code.co_names}.union(*inside)


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that gets its value later
        return False


def _empty(value: Any) -> bool:
    return isinstance(value, (dict, list, set)) and not value
