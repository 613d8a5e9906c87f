"""Why torch could not capture or export a model: the operators or the line of the model in the way, and what may help.

What torch keeps to itself (registries, decomposed programs) is asked for guardedly: where another version does not have
it, its exception alone is told.
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

# What an operator's name ends with where its trouble is the numbers that it is of.
COMPLEX = " of complex numbers"
# What makes complex numbers of pairs, and pairs of them.
PAIRED = ("aten::view_as_complex", "aten::view_as_real", "aten::polar", "aten::complex")
BY_PAIRS = "route=auto capture=auto for target=openvino, which has pairs of numbers for complex ones"
# Where a saved TorchScript module says that its own code is.
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
    """The line of the model that an exception of torch's capture or export comes from.

    Returns:
        "net.py:27 in forward: if x.sum() > 0:", or "" when nothing in the exception or its causes tells.
    """
    chain = list(_chain(error))
    for e in chain:
        frames = [Frame(f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(e.__traceback__)]
        if found := _of_the_model(_below_torch(frames)):
            return str(found)
    return next(filter(None, (place(str(e)) for e in chain)), "")


@contextlib.contextmanager
def by_dynamo(opset: int) -> Iterator[None]:
    """Turns what the dynamo exporter raises into a StageError that names operators and lines of the model.

    Args:
        opset: What the block exports to.
    """
    try:
        yield
    except Exception as e:  # ConversionError, and whatever its later passes and a custom translation raise
        program, registry = _at_hand(e)
        failed = _failed_node(program, e)
        at = [] if failed is None else [Missing(_operator(failed), place_of(failed))]
        lacking = _lacking_dynamo(program, registry) or at or _named_by_dynamo(e)
        if lacking and "No ONNX function found" in _told(e):
            raise _report("dynamo", opset, lacking, _ways_from_dynamo(lacking, opset)) from e
        raise _other("dynamo", opset, [*(f"{m.operator}: {m.place}" for m in at), source_of(e)], e) from e


@contextlib.contextmanager
def by_torchscript(traced: Any, opset: int) -> Iterator[None]:
    """Turns what the TorchScript exporter raises into a StageError that names operators and lines of the model.

    Args:
        traced: The torch.jit.ScriptModule that is exported.
        opset: What it is exported to.
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
    for operator, found in places.items():
        calls = f", {len(found)} calls" if len(found) > 1 else ""
        lines.append(f"    {operator}{calls}: {listed(dict.fromkeys(filter(None, found)), 3) or 'line not known'}")
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
    """The program that the exporter was translating, decomposed as it is, and its registry; None for what is not found.

    They are the exporter's own, out of the frame that raised: decomposing again fails for sizes that depend on data.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "decomposed_program" in frame.f_locals:
            return frame.f_locals["decomposed_program"], frame.f_locals.get("registry")
    return None, None


def _lacking_dynamo(program: Any, registry: Any) -> list[Missing]:
    """Every operator of a decomposed program without a translation; none when torch is not as we know it."""
    try:
        from torch.onnx._internal.exporter import _dispatching

        nodes = [n for n in calls(program) if not _told_name(n).startswith("onnx::")]
        lacking = [n for n in nodes if _dispatching.dispatch(n, registry)[0] is None]
        return [Missing(_operator(n) + (COMPLEX if _is_complex(n) else ""), place_of(n)) for n in lacking]
    except Exception as e:
        log.info("torch's registry of translations cannot be asked", exc_info=e)
        return []


def _is_complex(node: Any) -> bool:
    values = [n.meta.get("val") for n in (node, *node.all_input_nodes)]
    return any(getattr(v, "dtype", None) is not None and v.dtype.is_complex for v in values)


def _named_by_dynamo(error: BaseException) -> list[Missing]:
    told = re.search(r"OpOverload\(op='(\w+)\.(\w+)', overload='(\w+)'", _told(error))
    return [Missing(f"{told[1]}::{told[2]}")] if told else []


def calls(program: Any) -> Iterator[Any]:
    """The calls of operators in a program, those in the branches of a cond or the body of a loop included."""
    if program is not None:
        yield from (n for n in programs.nodes(program.graph_module) if n.op == "call_function")


def _told_name(node: Any) -> str:
    """my_ns::op, as translations are registered under; the target as it is for what is no operator of torch's."""
    name = getattr(node.target, "name", None)
    return str(name()) if callable(name) else str(node.target)


def _operator(node: Any) -> str:
    """The operator that the model called, and in brackets the one that torch made of it."""
    name = _told_name(node)
    source = next(iter(node.meta.get("from_node") or ()), None)
    while source is not None and source.from_node:
        source = source.from_node[0]
    called = re.fullmatch(r"(\w+)\.(\w+)\.(\w+)", str(source.target)) if source is not None else None
    if called:
        overload = "" if called[3] == "default" else f".{called[3]}"
        told = f"{called[1]}::{called[2]}{overload}"
        return told if told == name else f"{told} ({name})"
    return name


def _called(operator: str) -> str:
    """my_ns::op, of what `_operator` tells: without overload and what torch made of it."""
    return operator.partition(" ")[0].partition(".")[0]


def _failed_node(program: Any, error: BaseException) -> Any:
    """The node that the exporter says it was translating."""
    told = re.search(r"Error when translating node %(\w+)", _told(error))
    return next((n for n in calls(program) if told and n.name == told[1]), None)


def _ways_from_dynamo(operators: Iterable[Missing], opset: int) -> list[str]:
    """The other capture, where its exporter has all that is lacking.

    Not a higher opset: of what the registry of the pinned torch gains with one, lower ones have a decomposition.
    """
    if any(m.operator.endswith(COMPLEX) for m in operators):  # which no trace gets past this exporter either
        return [BY_PAIRS]
    found = _lowest_torchscript_opset({_called(m.operator) for m in operators}, opset)
    return [] if found is None else ["capture=trace" if found == opset else f"capture=trace opset={found}"]


# ── the TorchScript exporter ──────────────────────────────────────────────────────────────────────────────────────────


def _lacking_torchscript(traced: Any, opset: int) -> list[Missing]:
    """Every operator of a traced graph without a symbolic function; none when torch is not as we know it."""
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
    """The name that an operator's symbolic function is registered under: in-place ones share their twin's."""
    return kind.removesuffix("_")


def _has_symbolic(kind: str, opset: int) -> bool:
    from torch.onnx._internal.torchscript_exporter import registration, utils

    with contextlib.suppress(AttributeError):
        utils._trigger_symbolic_function_registration()  # they are registered when an export begins
    return bool(registration.registry.is_registered_op(_symbolic(kind), opset))


def _lowest_torchscript_opset(operators: Iterable[str], opset: int) -> int | None:
    """The lowest opset from this one on that has a symbolic function for each operator."""
    names = [o for o in operators if "::" in o]
    try:
        return next(
            (o for o in range(opset, opsets.TORCHSCRIPT.stop) if all(_has_symbolic(name, o) for name in names)), None
        )
    except Exception as e:
        log.info("torch's registry of symbolic functions cannot be asked", exc_info=e)
        return None


def _named_by_torchscript(error: BaseException) -> str:
    told = re.search(r"[A-Za-z_]\w*::\w+", str(error))
    return told[0] if told else "an operator"


def _ways_from_torchscript(operators: Sequence[Missing], opset: int) -> list[str]:
    ways = []
    names = {m.operator for m in operators}
    if names & set(PAIRED):  # which the other exporter does not have either
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
        known = {n.partition(".")[0] for n in [*translated, *(o.name() for o in overloads)]}
        lacking = [o for o in torch._C._dispatch_get_all_op_names() if o.partition(".")[0] in set(names) - known]
        composite = "CompositeImplicitAutograd"
        known |= {o.partition(".")[0] for o in lacking if torch._C._dispatch_has_kernel_for_dispatch_key(o, composite)}
        return set(names) <= known
    except Exception as e:
        log.info("torch's registry of translations cannot be asked", exc_info=e)
        return False


# ── lines of the model ────────────────────────────────────────────────────────────────────────────────────────────────


def place_of(node: Any) -> str:
    return place(node.meta.get("stack_trace") or "")


def place(stack: str) -> str:
    """The model's line in a stack that torch wrote down, in either of its spellings."""
    written = [_frame(*told) for told in PYTHON_FRAME.findall(stack)]
    traced = [_frame(*told) for told in reversed(TRACED_FRAME.findall(stack))]
    found = _of_the_model(written) or _of_the_model(_below_torch(traced))
    return str(found) if found else ""


def place_at(frame: Any) -> str:
    """The model's line in a stack that is running, from its innermost frame on."""
    running = [Frame(f.f_code.co_filename, line, f.f_code.co_name) for f, line in traceback.walk_stack(frame)]
    found = _of_the_model(_below_torch(reversed(running)))
    return str(found) if found else ""


def is_models(file: str) -> bool:
    """Whether a file is the model's own code or one of torch's layers, which are part of it."""
    if file.startswith(("<", *code_files.OURS)) or _is_pythons(file) or file.endswith("/torch/nn/modules/module.py"):
        return False
    return not _is_torch(file) or "/torch/nn/" in file


def _frame(file: str, line: str, function: str) -> Frame:
    return Frame(code_files.found(file), int(line), function)


def _below_torch(frames: Iterable[Frame]) -> list[Frame]:
    """The frames from torch's first on: what called torch is us or a script, what torch called is the model."""
    return list(dropwhile(lambda f: not _is_torch(f.file), frames))


def _of_the_model(frames: Sequence[Frame]) -> Frame | None:
    """The last of the frames that is neither torch's nor ours; else the last of torch's own layers."""
    others = [
        f for f in frames if not f.file.startswith(("<", SERIALIZED, *code_files.OURS)) and not _is_pythons(f.file)
    ]
    model = [f for f in others if not _is_torch(f.file)]
    layers = [f for f in others if "/torch/nn/modules/" in f.file and f.file.rpartition("/")[2] != "module.py"]
    return next(iter([*reversed(model), *reversed(layers)]), None)


def _is_torch(file: str) -> bool:
    """Whether a file is torch's, or of what its exporter is made of."""
    import torch

    site = Path(torch.__file__).parents[1]
    return file.startswith(tuple(f"{site / package}/" for package in ("torch", "onnx", "onnx_ir", "onnxscript")))


def _is_pythons(file: str) -> bool:
    """Whether a file is of Python's own library."""
    return file.startswith(f"{sysconfig.get_path('stdlib')}/") and "/site-packages/" not in file


def _short(file: str) -> str:
    """A path as a person looks for it: below the package that it was installed in, or the current folder."""
    if "/site-packages/" in file:
        return file.rpartition("/site-packages/")[2]
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from, outermost first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from, outermost first: not what merely happened before."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _told(error: BaseException) -> str:
    return "\n".join(str(e) for e in _chain(error))
