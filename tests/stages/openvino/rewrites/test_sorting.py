"""openvino/rewrites/sorting.py."""

from __future__ import annotations

import numpy as np
import pytest
from harness import backend

from stages.openvino.rewrites import sorting


@pytest.fixture(autouse=True)
def _openvino_is_there():
    backend("openvino")


def model(shape, *, count):
    """Sorts the last dimension downwards; `count` None takes as many values as there are."""
    import openvino
    from openvino import opset11 as ops

    x = ops.parameter(shape, np.float32, name="x")
    k = ops.constant(np.int64(count)) if count else ops.gather(ops.shape_of(x), np.int64(1), np.int64(0))
    topk = ops.topk(x, k, -1, "max", "value", index_element_type="i64")
    return openvino.Model([topk.output(0), topk.output(1)], [x])


@pytest.mark.parametrize(
    ("shape", "count", "is_stable"), [([2, -1], None, True), ([2, 90], 90, True), ([2, 90], 9, False)]
)
def test_a_sort_of_all_keeps_the_order_of_equal_values(shape, count, is_stable):
    import openvino

    sorted_model = model(shape, count=count)
    sorting.make_stable(sorted_model)
    (sort,) = (op for op in sorted_model.get_ordered_ops() if op.get_type_name() == "TopK")
    assert sort.get_attributes()["stable"] is is_stable
    if is_stable:
        x = np.random.default_rng(0).integers(0, 4, (2, 90)).astype("float32")
        results = openvino.Core().compile_model(sorted_model, "CPU")([x])
        np.testing.assert_array_equal(results[1], np.argsort(-x, axis=1, kind="stable"))
