"""The three ways to capture a module, each with readable errors."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import CheckFailed, DrydockError, StageError, listed
from pipeline.notes import Notes
from stages.capture import (
    code_files,
    conditions,
    detectors,
    program_file,
    programs,
    promises,
    rewrites,
    script_file,
    unsupported,
)
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.capture.promises import Judged
from stages.interface import attention, call, fills
from stages.interface.generation import FACT as GENERATION
from stages.interface.interface import Dim, Interface
from stages.portable import native_output
from stages.portable.vendor_errors import first_line
from stages.reference import cases as reference_cases

log = logging.getLogger(__name__)

FEWEST = 2  # torch.export takes a dimension of 1 or 0 for fixed
# torch's message for a dimension that became a number; its advice is about settings that are not ours.
SPECIALIZED = re.compile(r"You marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)\..*")


def captured(how: str, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
    """A module captured by export, which stays in memory, or by trace or script, which is written to `folder`.

    Args:
        how: export, trace or script.
        inputs: The module and its reference, by the names of the capturing stages' ports.
        folder: The folder for model.pt.

    Raises the same errors as the function of that capture.
    """
    module, reference = inputs["module"].live, inputs["reference"]
    # For a decoder of the user's own, only the reference knows its cache.
    decoder = {n: fact for n, fact in reference.facts.items() if n == GENERATION}
    facts = {**Interface.read(reference).facts, **decoder, "capture": how}
    bound = call.bind(module, Interface.read(reference))
    if how == "export":
        program, notes = _program(module, reference, bound)
        return Artifact(EXPORTED, facts=facts, notes=notes, live=program)
    script, fixed = traced(module, reference) if how == "trace" else (scripted(module, reference), [])
    file = folder / TORCHSCRIPT.file
    _save(script, file)
    with attention.slow(), native_output.to_log():
        judged = promises.of_trace(file, fixed, bound, reference) if how == "trace" else Judged()
    return Artifact(TORCHSCRIPT, folder, facts=facts, notes=judged.notes(f"torch.jit.{how}"))


def _program(module: Any, reference: Artifact, bound: Any) -> tuple[Any, Notes]:
    """A program that is right at every size of `dims`, and its notes.

    Where it is not, since it goes the example's way alone, it is captured once more where the model goes the other way:
    that may be right for both, as a branch that pads by a difference, which is 0 on this side.
    """

    def judged(sizes: Mapping[str, int]) -> tuple[Any, Notes]:
        program = exported(module, reference, sizes)
        with attention.slow(), native_output.to_log():
            judgement = promises.of_program(program, bound, reference)
        where = f" at {promises.says(sizes)}, which is right at all sizes" if sizes else ""
        return program, judgement.notes(f"torch.export{where}")

    try:
        return judged({})
    except promises.Broken as broken:
        if min(broken.sizes.values()) < FEWEST:
            raise
        try:
            return judged(broken.sizes)
        except DrydockError:
            log.info("captured at %s it is not right at all sizes either", promises.says(broken.sizes))
        raise


def stored(capture: Artifact, store_up_to: int, folder: Path) -> Artifact:
    """A capture by export, written to `folder` unless its weights take more than `store_up_to` bytes.

    It is not written either if its file would contain anything that can run code, such as pickled tensors.
    """
    size = sum(t.numel() * t.element_size() for t in capture.live.state_dict.values())
    if size > store_up_to:
        says = f"torch.export; {size / 2**30:.1f} GiB of weights, so it stays in memory"
        return replace(capture, notes=Notes({**capture.notes, "says": says}))
    try:
        program_file.write(capture.live, folder / EXPORTED.file)
    except program_file.Unsafe as e:
        log.info("the program stays in memory: its file could run code when it is read: %s", e)
        return replace(
            capture, notes=Notes({**capture.notes, "says": "torch.export; no plain file, so it stays in memory"})
        )
    return replace(capture, folder=folder)


def exported(module: Any, reference: Artifact, sizes: Mapping[str, int] = MappingProxyType({})) -> Any:
    """A torch.export.ExportedProgram with the interface's dynamic dimensions, each within its min and max.

    Args:
        module: The model.
        reference: Its reference.
        sizes: Of the example; none for the reference's own.

    Raises:
        CheckFailed: When the model's code fixes a dimension that was to be dynamic.
        StageError: When torch.export cannot capture it otherwise.
    """
    import torch

    interface = Interface.read(reference)
    bound, example = call.bind(module, interface), _example(torch, reference, sizes)
    dims = {name: _dim(torch, name, dim) for name, dim in interface.dims.items()}
    # torch.export has no sums of dimensions. It infers such a sum by itself, and asserts it in the program; as a guard
    # it would refuse it.
    sums = {size for spec in interface.inputs.values() for size in spec.axes.values() if size not in dims}
    dims |= dict.fromkeys(sums, torch.export.Dim.AUTO)
    shapes = tuple({i: dims[d] for i, d in spec.axes.items()} for spec in interface.inputs.values())

    def export(shapes: Any) -> Any:
        return torch.export.export(
            bound,
            example,
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=bool(sums),
        )

    with (
        _in_other_words(module),
        detectors.in_place(),
        rewrites.scanning(),
        native_output.to_log(),
        conditions.telling_places(),
    ):
        try:
            return _with_relative_paths(export(shapes))
        except Exception as e:  # torch.export raises from many modules, some of them private
            refusal = e
        if "Constraints violated" not in str(refusal):
            raise _not_exported(refusal) from refusal
        # Its solver gives up on conditions such as (3*n - 1)//n == 2, which hold at every size, and on some that decide
        # a layout in memory alone. If it may restrict the sizes itself, the program lists its conditions, and
        # `promises.of_program` compares wherever one does not hold.
        anything = tuple(dict.fromkeys(spec.axes, torch.export.Dim.AUTO) for spec in interface.inputs.values())
        try:
            program = export(anything)
        except Exception as e:
            log.info("torch.export cannot restrict the sizes by itself either: %s", first_line(e))
            raise _not_exported(refusal) from refusal
        promises.refuse_fixed(program, interface)
    return _with_relative_paths(program)


def _with_relative_paths(program: Any) -> Any:
    """The program, with its nodes' stack traces free of this machine's paths."""
    for node in programs.nodes(program.graph_module):
        if stack := node.meta.get("stack_trace"):
            node.meta["stack_trace"] = code_files.relative_stack(stack)
    return program


def traced(module: Any, reference: Artifact) -> tuple[Any, list[str]]:
    """A torch.jit.ScriptModule that does what one call did, and the places where it fixed something, "net.py:27"."""
    import torch

    bound = call.bind(module, Interface.read(reference))
    with (
        _in_other_words(module),
        detectors.in_place(),
        rewrites.without_gradients(),
        _returning_constants(bound),
        warnings.catch_warnings(record=True) as caught,
        torch.no_grad(),
    ):
        warnings.simplefilter("default")
        try:
            # Its own re-trace compares graphs; the check stages compare outputs, at more shapes.
            script = torch.jit.trace(bound, _example(torch, reference), check_trace=False)  # type: ignore[no-untyped-call]
        except Exception as e:  # a model raises anything
            raise StageError(
                f"torch.jit.trace cannot capture the model: {first_line(e)}{_at(e)}",
                allowed="modules that answer with tensors and call nothing but torch",
                command="capture=export",
            ) from e
    baked = [w for w in caught if issubclass(w.category, torch.jit.TracerWarning)]  # type: ignore[attr-defined]
    warnings_by_place: dict[str, str] = {}
    for w in baked:
        warnings_by_place.setdefault(f"{Path(w.filename).name}:{w.lineno}", str(w.message).strip().splitlines()[0])
    for place, message in warnings_by_place.items():
        log.warning("%s: %s", place, message)
    return script, list(warnings_by_place)


@contextlib.contextmanager
def _returning_constants(bound: Any) -> Iterator[None]:
    """Makes a module return copies of tensors that are plain attributes: the tracer only knows buffers."""
    import torch

    attributes = {id(t) for part in bound.modules() for t in vars(part).values() if torch.is_tensor(t)}

    def copied(_module: Any, _inputs: Any, returned: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(t.clone() if id(t) in attributes else t for t in returned)

    hook = bound.register_forward_hook(copied)
    try:
        yield
    finally:
        hook.remove()


def _save(captured: Any, path: Path) -> None:
    """Writes a ScriptModule to a file. Raises StageError for what cannot be saved, such as calls of Python."""
    import torch

    try:
        torch.jit.save(captured, str(path))
    except RuntimeError as e:
        raise StageError(
            f"TorchScript cannot save what it captured: {first_line(e)}{_at(e)}",
            allowed="modules that call nothing but torch's operators",
            command="capture=export",
        ) from e
    script_file.make_equal(path)


def scripted(module: Any, reference: Artifact) -> Any:
    """A torch.jit.ScriptModule compiled from the model's source, with its branches and loops. Raises StageError."""
    import torch

    try:
        return torch.jit.script(call.bind(module, Interface.read(reference)))
    except Exception as e:  # the compiler raises anything
        raise StageError(
            f"torch.jit.script cannot compile the model: {first_line(e)}{_at(e)}",
            allowed="the part of Python that TorchScript knows, with types that it can tell",
            command="capture=export or capture=trace",
        ) from e


def _example(torch: Any, reference: Artifact, sizes: Mapping[str, int] = MappingProxyType({})) -> tuple[Any, ...]:
    """The first case's inputs, or inputs of these sizes.

    Copies: a model that writes into its input must not change what others read.
    """
    if sizes:
        arrays: Mapping[str, Any] = fills.draw(reference_cases.drawn(reference), sizes, promises.SEED)
    else:
        arrays = next(reference_cases.read(reference)).inputs
    return tuple(torch.from_numpy(v.copy()) for v in arrays.values())


def _dim(torch: Any, name: str, dim: Dim) -> Any:
    if dim.multiple == 1:
        return torch.export.Dim(name, min=dim.min, max=dim.max)
    return dim.multiple * torch.export.Dim(name, min=dim.min // dim.multiple, max=dim.max // dim.multiple)


@contextlib.contextmanager
def _in_other_words(module: Any) -> Iterator[None]:
    """Replaces operators that converters get wrong by equivalent ones, while a module is captured."""
    with (
        attention.slow(),
        rewrites.attention(),
        rewrites.counting(module),
        rewrites.joining(),
        rewrites.pooling(),
        rewrites.unmasked(),
        rewrites.near_one(),
    ):
        yield


def _at(error: Exception) -> str:
    """The model's line, where torch's error gives it."""
    return _below(unsupported.source_of(error))


def _below(place: str) -> str:
    return f"\n    at {place}" if place else ""


def _not_exported(error: Exception) -> DrydockError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if fixed := re.search(r"Constraints violated \(([^)]*)\)", str(error)):
        # torch lists each broken promise on a line that begins with a dash.
        reasons = [SPECIALIZED.sub(r"the model's code fixes \1 at \2", r.lstrip("- ")) for r in lines if r[0] == "-"]
        return CheckFailed(
            f"model.dims.{fixed[1].replace(', ', ', model.dims.')} cannot be dynamic: {listed(reasons or lines, 3)}",
            allowed="dimensions that the model's code does not fix",
            command="a number in model.inputs.NAME.shape instead of the name, or a narrower range in model.dims",
        )
    return StageError(
        f"torch.export cannot capture the model: {lines[0]}{_at(error)}",
        allowed="control flow and shapes that do not depend on the values of inputs",
        command="torch.cond or torch.where in the model; capture=trace would fix the branch as the example takes it",
    )
