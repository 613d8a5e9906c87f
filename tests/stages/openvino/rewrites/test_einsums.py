"""openvino/rewrites/einsums.py."""

from __future__ import annotations

import numpy as np
import pytest
from harness import backend

from stages.openvino.rewrites import einsums


@pytest.fixture(autouse=True)
def _openvino_is_there():
    backend("openvino")


def model(table, rows):
    """Positions as Funnel's attention gathers them from a table, joined with a query of 2×64×4×64."""
    import openvino
    from openvino import opset13 as ops

    query = ops.parameter([-1, 64, 4, 64], np.float32, name="query")
    gathered = ops.gather_elements(ops.constant(table), ops.constant(rows), 0)
    positions = ops.reshape(gathered, ops.constant([128, 4, 64]), False)
    return openvino.Model([ops.einsum([query, positions], "binh,tnh->bnit")], [query])


def test_an_operand_that_depends_on_no_input_is_computed_and_the_answer_is_right():
    import openvino

    rng = np.random.default_rng(0)
    table, query = rng.normal(size=(256, 256)).astype("f4"), rng.normal(size=(2, 64, 4, 64)).astype("f4")
    rows = np.repeat(np.arange(192, 64, -1)[:, None], 256, axis=1)
    expected = np.einsum("binh,tnh->bnit", query, table[rows[:, 0]].reshape(128, 4, 64))
    core, folded = openvino.Core(), model(table, rows)
    einsums.fold_operands(folded, core)
    (einsum,) = (op for op in folded.get_ordered_ops() if op.get_type_name() == "Einsum")
    operands = [i.get_source_output().get_node().get_type_name() for i in einsum.inputs()]
    assert operands == ["Parameter", "Constant"]

    def off(of):
        answer = core.compile_model(of, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([query])[0]
        return float(np.abs(answer - expected).max() / np.abs(expected).max())

    assert off(folded) < 1e-5
    assert off(model(table, rows)) > 0.1  # where this fails, OpenVINO is mended: remove the rewrite


def test_what_a_random_number_reaches_stays_as_it_is():
    import openvino
    from openvino import opset13 as ops

    x = ops.parameter([2, 3], np.float32, name="x")
    noise = ops.random_uniform(ops.constant([3, 4]), ops.constant(np.float32(0)), ops.constant(np.float32(1)), "f32")
    noisy = openvino.Model([ops.einsum([x, noise], "ab,bc->ac")], [x])
    einsums.fold_operands(noisy, openvino.Core())
    assert "RandomUniform" in [op.get_type_name() for op in noisy.get_ordered_ops()]
