"""Why torch could not capture or export a model: the operators or the model's line that prevent it, and what may help.

Where another version of torch lacks the private parts that are used here, only the exception is reported.
"""

from __future__ import annotations

import contextlib
import linecache
import logging
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, listed
from stages.capture import code_files, decompositions, opsets, programs

# Not one of our loggers, so it reaches the log file alone.
log = logging.getLogger("vendor")

# Added to an operator's name where the problem is that its numbers are complex.
COMPLEX = " of complex numbers"
# Operators that turn pairs of numbers into complex numbers, or back.
PAIRED = ("aten::view_as_complex", "aten::view_as_real", "aten::polar", "aten::complex")
BY_PAIRS = "route=auto capture=auto for target=openvino, which has pairs of numbers for complex ones"
# The file name that a saved TorchScript module gives for its own code.
SERIALIZED = "code/__torch__"
# Python's tracebacks and what fx and dynamo print; then the source ranges of a traced graph, innermost first.
PYTHON_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)(?:, in (\S+))?')
TRACED_FRAME = re.compile(r"(?:^|node defined in )([^\s(].*)\((\d+)\): ([\w<>]+)", re.MULTILINE)


@dataclass(frozen=True)
class Frame:
    """One line of code in a call stack."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip()
        place = f"{_short(self.file)}:{self.line}" + (f" in {self.function}" if self.function else "")
        return f"{place}: {text}" if text else place


@dataclass(frozen=True)
class Missing:
    """An operator that an exporter has no translation for, at one place in the model."""

    operator: str
    place: str = ""


def source_of(error: BaseException) -> str:
    """The model's line behind an exception of torch: "net.py:27 in forward: if x.sum() > 0:"; "" when none shows."""
    chain = list(_chain(error))
    for e in chain:
        frames = [Frame(f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(e.__traceback__)]
        if frame := _of_the_model(_below_torch(frames)):
            return str(frame)
    return next(filter(None, (place(str(e)) for e in chain)), "")


@contextlib.contextmanager
def by_dynamo(opset: int) -> Iterator[None]:
    """Turns errors of the dynamo exporter into a StageError that names operators and lines of the model.

    Args:
        opset: The opset that the block exports to.
    """
    try:
        yield
    except Exception as e:  # ConversionError, and whatever its later passes and a custom translation raise
        program, registry = _at_hand(e)
        failed = _failed_node(program, e)
        at = [] if failed is None else [Missing(_operator(failed), place_of(failed))]
        lacking = _lacking_dynamo(program, registry) or at or _named_by_dynamo(e)
        if lacking and "No ONNX function found" in _messages(e):
            raise _report("dynamo", opset, lacking, _ways_from_dynamo(lacking, opset)) from e
        raise _other("dynamo", opset, [*(f"{m.operator}: {m.place}" for m in at), source_of(e)], e) from e


@contextlib.contextmanager
def by_torchscript(traced: Any, opset: int) -> Iterator[None]:
    """Turns errors of the TorchScript exporter into a StageError that names operators and lines of the model.

    Args:
        traced: The torch.jit.ScriptModule that is exported.
        opset: The opset that it is exported to.
    """
    import torch

    try:
        yield
    except torch.onnx.errors.UnsupportedOperatorError as e:
        operators = _lacking_torchscript(traced, opset) or [Missing(_named_by_torchscript(e))]
        raise _report("TorchScript", opset, operators, _ways_from_torchscript(operators, opset)) from e
    except Exception as e:  # a symbolic function raises anything
        raise _other("TorchScript", opset, [source_of(e)], e) from e


def _report(exporter: str, opset: int, operators: Sequence[Missing], ways: Sequence[str]) -> StageError:
    places: dict[str, list[str]] = {}
    for missing in operators:
        places.setdefault(missing.operator, []).append(missing.place)
    lines = [f"the {exporter} exporter has no translation to opset {opset} of {listed(places)}"]
    for operator, at in places.items():
        calls = f", {len(at)} calls" if len(at) > 1 else ""
        lines.append(f"    {operator}{calls}: {listed(dict.fromkeys(filter(None, at)), 3) or 'line not known'}")
    example = next(iter(places)).partition(" ")[0].replace(":", r"\:")
    custom = f"'+stages.export.translations={{{example}: my_pkg.onnx_ops.translation}}'"
    allowed = "operators that the exporter translates, or a translation of yours for each"
    return StageError("\n".join(lines), allowed=allowed, command=", or ".join([*ways, custom]))


def _other(exporter: str, opset: int, places: Iterable[str], error: BaseException) -> StageError:
    innermost = list(_causes(error))[-1]
    first = next((line.strip() for line in str(innermost).splitlines() if line.strip()), "no message")
    where = "".join(f"\n    at {place}" for place in dict.fromkeys(filter(None, places)))
    other = "capture=export" if exporter == "TorchScript" else "capture=trace"
    return StageError(
        f"the {exporter} exporter cannot write this model at opset {opset}: {type(innermost).__name__}: {first}{where}",
        command=f"another opset, or {other}; the log has the whole traceback",
    )


# ── the dynamo exporter ───────────────────────────────────────────────────────────────────────────────────────────────


def _at_hand(error: BaseException) -> tuple[Any, Any]:
    """The decomposed program that the exporter was translating, and its registry; None for what is not found.

    They come from the frame that raised: decomposing again fails for sizes that depend on data.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "decomposed_program" in frame.f_locals:
            return frame.f_locals["decomposed_program"], frame.f_locals.get("registry")
    return None, None


def _lacking_dynamo(program: Any, registry: Any) -> list[Missing]:
    """Every operator of a decomposed program without a translation; none if torch's internals are unknown."""
    try:
        from torch.onnx._internal.exporter import _dispatching

        nodes = [n for n in calls(program) if not _registered_name(n).startswith("onnx::")]
        lacking = [n for n in nodes if _dispatching.dispatch(n, registry)[0] is None]
        return [Missing(_operator(n) + (COMPLEX if _is_complex(n) else ""), place_of(n)) for n in lacking]
    except Exception as e:
        log.info("torch's registry of translations cannot be asked", exc_info=e)
        return []


def _is_complex(node: Any) -> bool:
    values = [n.meta.get("val") for n in (node, *node.all_input_nodes)]
    return any(getattr(v, "dtype", None) is not None and v.dtype.is_complex for v in values)


def _named_by_dynamo(error: BaseException) -> list[Missing]:
    match = re.search(r"OpOverload\(op='(\w+)\.(\w+)', overload='(\w+)'", _messages(error))
    return [Missing(f"{match[1]}::{match[2]}")] if match else []


def calls(program: Any) -> Iterator[Any]:
    """The calls of operators in a program, those in the branches of a cond or the body of a loop included."""
    if program is not None:
        yield from (n for n in programs.nodes(program.graph_module) if n.op == "call_function")


def _registered_name(node: Any) -> str:
    """The name under which translations are registered, my_ns::op; the target itself if it is no operator of torch."""
    name = getattr(node.target, "name", None)
    return str(name()) if callable(name) else str(node.target)


def _operator(node: Any) -> str:
    """The operator that the model called, and in brackets the one that torch replaced it by."""
    name = _registered_name(node)
    source = next(iter(node.meta.get("from_node") or ()), None)
    while source is not None and source.from_node:
        source = source.from_node[0]
    called = re.fullmatch(r"(\w+)\.(\w+)\.(\w+)", str(source.target)) if source is not None else None
    if called:
        overload = "" if called[3] == "default" else f".{called[3]}"
        original = f"{called[1]}::{called[2]}{overload}"
        return original if original == name else f"{original} ({name})"
    return name


def _called(operator: str) -> str:
    """my_ns::op from the result of `_operator`: without the overload and the replacement."""
    return operator.partition(" ")[0].partition(".")[0]


def _failed_node(program: Any, error: BaseException) -> Any:
    """The node that the exporter says it was translating."""
    match = re.search(r"Error when translating node %(\w+)", _messages(error))
    return next((n for n in calls(program) if match and n.name == match[1]), None)


def _ways_from_dynamo(operators: Iterable[Missing], opset: int) -> list[str]:
    """The other capture, if its exporter has all missing operators.

    A higher opset would not help: lower ones decompose what the registry of the pinned torch adds later.
    """
    if any(m.operator.endswith(COMPLEX) for m in operators):  # a trace does not help either
        return [BY_PAIRS]
    lowest = _lowest_torchscript_opset({_called(m.operator) for m in operators}, opset)
    return [] if lowest is None else ["capture=trace" if lowest == opset else f"capture=trace opset={lowest}"]


# ── the TorchScript exporter ──────────────────────────────────────────────────────────────────────────────────────────


def _lacking_torchscript(traced: Any, opset: int) -> list[Missing]:
    """Every operator of a traced graph without a symbolic function; none if torch's internals are unknown."""
    import torch

    try:
        graph = traced.inlined_graph  # a copy
        # Conversions such as aten::Int are erased before anything is translated.
        torch._C._jit_pass_erase_number_types(graph)
        torch._C._jit_pass_dce_allow_deleting_nodes_with_side_effects(graph)
    except Exception as e:
        log.info("the traced graph cannot be walked", exc_info=e)
        return []
    calls = [n for n in nodes(graph) if not n.kind().startswith(("prim::", "onnx::"))]
    return [Missing(_symbolic(n.kind()), place(n.sourceRange())) for n in calls if not _has_symbolic(n.kind(), opset)]


def nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes(inner)


def _symbolic(kind: str) -> str:
    """The name of an operator's symbolic function: in-place operators share that of the normal one."""
    return kind.removesuffix("_")


def _has_symbolic(kind: str, opset: int) -> bool:
    from torch.onnx._internal.torchscript_exporter import registration, utils

    with contextlib.suppress(AttributeError):
        utils._trigger_symbolic_function_registration()  # they are registered when an export begins
    return bool(registration.registry.is_registered_op(_symbolic(kind), opset))


def _lowest_torchscript_opset(operators: Iterable[str], opset: int) -> int | None:
    """The lowest opset, starting at this one, that has a symbolic function for each operator."""
    names = [o for o in operators if "::" in o]
    try:
        return next(
            (o for o in range(opset, opsets.TORCHSCRIPT.stop) if all(_has_symbolic(name, o) for name in names)), None
        )
    except Exception as e:
        log.info("torch's registry of symbolic functions cannot be asked", exc_info=e)
        return None


def _named_by_torchscript(error: BaseException) -> str:
    match = re.search(r"[A-Za-z_]\w*::\w+", str(error))
    return match[0] if match else "an operator"


def _ways_from_torchscript(operators: Sequence[Missing], opset: int) -> list[str]:
    ways = []
    names = {m.operator for m in operators}
    if names & set(PAIRED):  # the other exporter does not have these either
        return [BY_PAIRS]
    if higher := _lowest_torchscript_opset(names, opset):
        ways.append(f"opset={higher}")
    dynamo = max(opset, opsets.DYNAMO.start)
    if _dynamo_knows(names, dynamo):
        ways.append("capture=export" if dynamo == opset else f"capture=export opset={dynamo}")
    return ways


def _dynamo_knows(names: Iterable[str], opset: int) -> bool:
    """Whether the dynamo exporter translates, or torch decomposes, some overload of each operator."""
    import torch

    try:
        from torch.onnx._internal.exporter import _registration

        tables = (torch.export.default_decompositions(), torch._decomp.decomposition_table)
        overloads: list[Any] = [o for table in tables for o in table if isinstance(o, torch._ops.OpOverload)]
        translated = [n for n in _registration.ONNXRegistry.from_torchlib(opset).functions if isinstance(n, str)]
        overloads += decompositions.ours()
        covered = {n.partition(".")[0] for n in [*translated, *(o.name() for o in overloads)]}
        lacking = [o for o in torch._C._dispatch_get_all_op_names() if o.partition(".")[0] in set(names) - covered]
        kernel = torch._C._dispatch_has_kernel_for_dispatch_key
        covered |= {o.partition(".")[0] for o in lacking if kernel(o, "CompositeImplicitAutograd")}
        return set(names) <= covered
    except Exception as e:
        log.info("torch's registry of translations cannot be asked", exc_info=e)
        return False


# ── lines of the model ────────────────────────────────────────────────────────────────────────────────────────────────


def place_of(node: Any) -> str:
    return place(node.meta.get("stack_trace") or "")


def place(stack: str) -> str:
    """The model's line in a stack that torch recorded, in either of its two formats."""
    written = [_frame(*match) for match in PYTHON_FRAME.findall(stack)]
    traced = [_frame(*match) for match in reversed(TRACED_FRAME.findall(stack))]
    frame = _of_the_model(written) or _of_the_model(_below_torch(traced))
    return str(frame) if frame else ""


def place_at(frame: Any) -> str:
    """The model's line in the running stack, starting at its innermost frame."""
    running = [Frame(f.f_code.co_filename, line, f.f_code.co_name) for f, line in traceback.walk_stack(frame)]
    model_frame = _of_the_model(_below_torch(reversed(running)))
    return str(model_frame) if model_frame else ""


def is_models(file: str) -> bool:
    """Whether a file is the model's own code or one of torch's layers, which are part of it."""
    if file.startswith(("<", *code_files.OURS)) or _is_pythons(file) or file.endswith("/torch/nn/modules/module.py"):
        return False
    return not _is_torch(file) or "/torch/nn/" in file


def _frame(file: str, line: str, function: str) -> Frame:
    return Frame(code_files.located(file), int(line), function)


def _below_torch(frames: Iterable[Frame]) -> list[Frame]:
    """The frames from torch's first on: our code or a script calls torch, and torch calls the model."""
    return list(dropwhile(lambda f: not _is_torch(f.file), frames))


def _of_the_model(frames: Sequence[Frame]) -> Frame | None:
    """The last frame that is neither torch's nor ours; else the last of torch's own layers."""
    others = [
        f for f in frames if not f.file.startswith(("<", SERIALIZED, *code_files.OURS)) and not _is_pythons(f.file)
    ]
    model = [f for f in others if not _is_torch(f.file)]
    layers = [f for f in others if "/torch/nn/modules/" in f.file and f.file.rpartition("/")[2] != "module.py"]
    return next(iter([*reversed(model), *reversed(layers)]), None)


def _is_torch(file: str) -> bool:
    """Whether a file belongs to torch or to the packages of its exporter."""
    import torch

    site = Path(torch.__file__).parents[1]
    return file.startswith(tuple(f"{site / package}/" for package in ("torch", "onnx", "onnx_ir", "onnxscript")))


def _is_pythons(file: str) -> bool:
    """Whether a file belongs to Python's own library."""
    return file.startswith(f"{sysconfig.get_path('stdlib')}/") and "/site-packages/" not in file


def _short(file: str) -> str:
    """A short path for people: relative to the installed packages, or to the current folder."""
    if "/site-packages/" in file:
        return file.rpartition("/site-packages/")[2]
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and the explicit causes that it was raised from, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _messages(error: BaseException) -> str:
    return "\n".join(str(e) for e in _chain(error))
