"""A batch that an ONNX file fixes, made free, and what shows that the graph allows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckFailed, listed
from stages.interface import fills
from stages.interface import interface as model_interface
from stages.interface.interface import Dim, Input
from stages.onnx import file as onnx_file
from stages.onnx.opening import dimensions
from stages.portable import comparison
from stages.portable.comparison import Tolerance
from stages.portable.said import first_line

if TYPE_CHECKING:
    import numpy as np
    import onnx

    Arrays = Mapping[str, np.ndarray[Any, Any]]
    Ask = Callable[[Arrays], Arrays]

# Two orders of summation in float32.
CLOSE = Tolerance(max_rel=1e-4, p99_rel=1e-4, cosine=0.9999, top1=0.0)
ANOTHER = "a number in model.inputs, or a file that was exported with an open batch"


@dataclass(frozen=True)
class Freed:
    """A dimension that a file fixes and a person names.

    Args:
        name: Of the dimension.
        size: What the file fixes it at.
    """

    name: str
    size: int


def free(model: onnx.ModelProto, inputs: Mapping[str, Input]) -> Freed | None:
    """Opens the dimension that the file fixes and a person names, and lets the graph's Reshapes follow it.

    Args:
        model: With the names that `dimensions.name` gave; changed.
        inputs: As `dimensions.given` returns them.

    Returns None where there is none. Raises CheckFailed where that are several, or of several sizes.
    """
    found: set[Freed] = set()
    for value in onnx_file.inputs(model):
        for dim, ours in zip(value.type.tensor_type.shape.dim, inputs[value.name].shape, strict=True):
            if dim.dim_value and isinstance(ours, str):
                found.add(Freed(ours, dim.dim_value))
                dim.dim_param = ours
    if len(found) > 1:
        fixed = listed(f"{f.name} at {f.size}" for f in sorted(found, key=lambda f: f.name))
        raise CheckFailed(
            f"inputs names what the file fixes: {fixed}", allowed="one of them, the batch", command=ANOTHER
        )
    for freed in found:
        _follow(model, freed.size)
        dimensions.infer(model)
        return freed
    return None


def _follow(model: onnx.ModelProto, size: int) -> None:
    """Has Reshapes that begin with the batch's size take whatever batch there is."""
    from onnx import numpy_helper

    reached = {v.name for v in onnx_file.inputs(model)}
    shapes: set[str] = set()
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            if node.op_type == "Reshape" and node.input[0] in reached:
                shapes.add(node.input[1])
    tensors = [t for t in model.graph.initializer if t.name in shapes]
    tensors += [a.t for n in model.graph.node if n.op_type == "Constant" and n.output[0] in shapes for a in n.attribute]
    for tensor in tensors:
        values = numpy_helper.to_array(tensor).copy()
        if values.size and values[0] == size:
            # -1 is what is left over, 0 the size that was there: of each shape one number may be -1.
            values[0] = 0 if -1 in values[1:] else -1
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def prove(freed: Freed, inputs: Mapping[str, Input], dims: Mapping[str, Dim], before: Ask, after: Ask) -> str:
    """Holds every row of larger and smaller batches to what the file answers of it in a batch of its own size.

    Args:
        freed: As `free` returns it.
        inputs: With the names.
        dims: The range of each name.
        before: The file as it came.
        after: The graph that `free` changed.

    Returns what was shown, in words. Raises CheckFailed where the graph does not run, or rows are others.
    """
    cases = model_interface.cases(dims)
    for sizes in cases.values():
        whole = fills.draw(inputs, sizes, seed=0)
        try:
            answer = after(whole)
        except Exception as e:  # onnxruntime raises its own
            raise _refused(freed, f"at {sizes[freed.name]} onnxruntime says: {first_line(e)}") from e
        wanted = _by_parts(freed, sizes[freed.name], inputs, whole, before, answer)
        _, wrong = comparison.compared(answer, wanted, CLOSE)
        if wrong:
            raise _refused(freed, f"at {sizes[freed.name]} its rows are others: {wrong[0]}")
    return f"{freed.name} freed, which the file fixes at {freed.size}: rows at {len(cases)} sizes are the same"


def _by_parts(
    freed: Freed, size: int, inputs: Mapping[str, Input], whole: Arrays, before: Ask, answer: Arrays
) -> dict[str, Any]:
    """What the file answers, a batch of its own size at a time, put together along the dimension that follows."""
    import numpy as np

    parts: list[tuple[int, Arrays]] = []
    for first in range(0, size, freed.size):
        chosen = np.arange(first, min(first + freed.size, size))
        filled = np.resize(chosen, freed.size)
        some = {n: _rows(a, inputs[n].shape, freed.name, filled) for n, a in whole.items()}
        parts.append((len(chosen), before(some)))
    found = {}
    for output, one in parts[0][1].items():
        axes = [i for i, (a, b) in enumerate(zip(one.shape, answer[output].shape, strict=False)) if a != b]
        if size == freed.size:
            found[output] = one
        elif len(axes) != 1:
            raise _refused(freed, f"output '{output}' is {list(answer[output].shape)} at {size}")
        else:
            cut = [np.take(part[output], range(count), axes[0]) for count, part in parts]
            found[output] = np.concatenate(cut, axes[0])
    return found


def _rows(array: Any, shape: Sequence[Any], name: str, chosen: Any) -> Any:
    for axis in (i for i, d in enumerate(shape) if d == name):
        array = array.take(chosen, axis)
    return array


def _refused(freed: Freed, why: str) -> CheckFailed:
    return CheckFailed(
        f"the graph does not allow {freed.name}, which the file fixes at {freed.size}, to be free: {why}",
        allowed=f"{freed.size}",
        command=ANOTHER,
    )
