"""coreml/mil/ops: every operation computes what torch computes."""

from __future__ import annotations

import numpy as np
import pytest
from mil_cases import elementwise, images, layers, movement, weights
from mil_cases.case import Case

from stages.coreml.mil import ops

FAMILIES = (elementwise, images, layers, movement, weights)
CASES = {}
for _family in FAMILIES:
    for _case in _family.cases(np.random.default_rng(7)):
        CASES.setdefault(_case.op, []).append(_case)
# What has no answer of torch's: it is tested below, and in saved packages.
STATES = {"read_state", "write_state"}


def answers(case):
    entry = ops.find(case.op, case.opset)
    with np.errstate(all="ignore"):
        results = entry.call({name: entry.take(value) for name, value in case.inputs.items()})
    return results if isinstance(results, (tuple, list)) else (results,)


@pytest.mark.parametrize("op", sorted(CASES))
def test_an_operation_answers_as_torch_does(op):
    for case in CASES[op]:
        expected = case.answer if isinstance(case.answer, tuple) else (case.answer,)
        for ours, theirs in zip(answers(case), expected, strict=True):
            shapes = {n: getattr(v, "shape", v) for n, v in case.inputs.items()}
            if isinstance(theirs, str | dict):
                assert ours == theirs
                continue
            ours, theirs = np.asarray(ours), np.asarray(theirs)
            assert ours.shape == theirs.shape, (case.opset, shapes)
            np.testing.assert_allclose(ours, theirs, case.close, case.close, err_msg=f"{case.opset} {shapes}")


@pytest.mark.parametrize("axis", [1, 2])
def test_equal_numbers_are_normalized_to_zeros(axis):
    (zeros,) = answers(Case("layer_norm", {"x": np.full((1, 768, 768), np.float32(0.0371)), "axes": [axis]}, None))
    assert not zeros.any()


def test_every_operation_of_every_opset_has_a_case():
    tested = {(c.op, id(ops.find(c.op, c.opset))) for cases in CASES.values() for c in cases}
    registered = {(name, id(entry)) for name, versions in ops.TABLE.items() for entry in versions.values()}
    assert {name for name, _ in registered - tested} == STATES
