"""Makes the fixed batch of an ONNX file dynamic, and proves that the graph allows it."""

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
from stages.portable.vendor_errors import first_line

if TYPE_CHECKING:
    import numpy as np
    import onnx

    Arrays = Mapping[str, np.ndarray[Any, Any]]
    Ask = Callable[[Arrays], Arrays]

# Float32 sums in two orders differ by this much.
CLOSE = Tolerance(max_rel=1e-4, p99_rel=1e-4, cosine=0.9999, top1=0.0)
ANOTHER = "a number in model.inputs, or a file that was exported with an open batch"


@dataclass(frozen=True)
class FreeDimension:
    """A dimension that a file fixes and that a person gave a name.

    Args:
        name: The dimension's name.
        size: The size that the file fixes it at.
    """

    name: str
    size: int


def free(model: onnx.ModelProto, inputs: Mapping[str, Input]) -> FreeDimension | None:
    """Makes the fixed dimension that a person gave a name dynamic, and adapts the graph's Reshapes.

    Args:
        model: The model, with the names from `dimensions.name`; it is changed.
        inputs: As `dimensions.all_inputs` returns them.

    Returns None where there is none. Raises CheckFailed where there are several, or several sizes.
    """
    candidates: set[FreeDimension] = set()
    for value in onnx_file.inputs(model):
        for dim, ours in zip(value.type.tensor_type.shape.dim, inputs[value.name].shape, strict=True):
            if dim.dim_value and isinstance(ours, str):
                candidates.add(FreeDimension(ours, dim.dim_value))
                dim.dim_param = ours
    if len(candidates) > 1:
        fixed = listed(f"{f.name} at {f.size}" for f in sorted(candidates, key=lambda f: f.name))
        raise CheckFailed(
            f"inputs names what the file fixes: {fixed}", allowed="one of them, the batch", command=ANOTHER
        )
    for freed in candidates:
        _follow(model, freed.size)
        dimensions.infer(model)
        return freed
    return None


def _follow(model: onnx.ModelProto, size: int) -> None:
    """Makes Reshapes that begin with the batch's size accept any batch."""
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
            # -1 means the rest, 0 the size of the input; a shape may have only one -1.
            values[0] = 0 if -1 in values[1:] else -1
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def prove(freed: FreeDimension, inputs: Mapping[str, Input], dims: Mapping[str, Dim], before: Ask, after: Ask) -> str:
    """Compares every row of larger and smaller batches with the same row in a batch of the file's own size.

    Args:
        freed: The result of `free`.
        inputs: The inputs, with the names.
        dims: The range of each name.
        before: Runs the original file.
        after: Runs the graph that `free` changed.

    Returns the proof in words. Raises CheckFailed where the graph does not run, or where rows differ.
    """
    cases = model_interface.cases(dims)
    for sizes in cases.values():
        whole = fills.draw(inputs, sizes, seed=0)
        try:
            answer = after(whole)
        except Exception as e:  # onnxruntime raises its own
            raise _refused(freed, f"at {sizes[freed.name]} onnxruntime says: {first_line(e)}") from e
        expected = _by_parts(freed, sizes[freed.name], inputs, whole, before, answer)
        _, wrong = comparison.compared(answer, expected, CLOSE)
        if wrong:
            raise _refused(freed, f"at {sizes[freed.name]} its rows differ: {wrong[0]}")
    return f"{freed.name} made dynamic, which the file fixes at {freed.size}: rows at {len(cases)} sizes are equal"


def _by_parts(
    freed: FreeDimension, size: int, inputs: Mapping[str, Input], whole: Arrays, before: Ask, answer: Arrays
) -> dict[str, Any]:
    """The outputs of the file for batches of its own size, joined along the dimension that follows the batch."""
    import numpy as np

    parts: list[tuple[int, Arrays]] = []
    for first in range(0, size, freed.size):
        chosen = np.arange(first, min(first + freed.size, size))
        filled = np.resize(chosen, freed.size)
        some = {n: _rows(a, inputs[n].shape, freed.name, filled) for n, a in whole.items()}
        parts.append((len(chosen), before(some)))
    results = {}
    for output, one in parts[0][1].items():
        axes = [i for i, (a, b) in enumerate(zip(one.shape, answer[output].shape, strict=False)) if a != b]
        if size == freed.size:
            results[output] = one
        elif len(axes) != 1:
            raise _refused(freed, f"output '{output}' is {list(answer[output].shape)} at {size}")
        else:
            cut = [np.take(part[output], range(count), axes[0]) for count, part in parts]
            results[output] = np.concatenate(cut, axes[0])
    return results


def _rows(array: Any, shape: Sequence[Any], name: str, chosen: Any) -> Any:
    for axis in (i for i, d in enumerate(shape) if d == name):
        array = array.take(chosen, axis)
    return array


def _refused(freed: FreeDimension, why: str) -> CheckFailed:
    return CheckFailed(
        f"the graph does not allow {freed.name}, which the file fixes at {freed.size}, to be dynamic: {why}",
        allowed=f"{freed.size}",
        command=ANOTHER,
    )
