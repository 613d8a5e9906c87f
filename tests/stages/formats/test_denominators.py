"""formats/denominators.py."""

from __future__ import annotations

import pytest

from stages.formats.denominators import Graph, Step

NORM = [
    Step("square", "Pow", ["x", None], ["a"], [2.0]),
    Step("sum", "ReduceSum", ["a", None], ["b"]),
    Step("root", "Sqrt", ["b"], ["c"]),
]
GUARD = Step("guard", "Add", ["c", None], ["d"], [1e-8])
SPREAD = [
    Step("mean", "ReduceMean", ["x"], ["m"]),
    Step("less", "Sub", ["x", "m"], ["e"]),
    Step("square", "Mul", ["e", "e"], ["f"]),
    Step("variance", "ReduceMean", ["f"], ["c"]),
]
LAYER = Step("layer", "MatMul", ["y", None], ["x"])


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([*NORM, GUARD, Step("share", "Div", ["x", "d"], ["y"])], ["square", "sum", "root", "guard", "share"]),
        ([GUARD, Step("spread", "Expand", ["d", None], ["g"]), Step("share", "Div", ["x", "g"], ["y"])], None),
        ([GUARD, Step("turn", "Reciprocal", ["d"], ["g"]), Step("times", "Mul", ["x", "g"], ["y"])], None),
        ([GUARD, Step("turn", "Div", [None, "d"], ["g"]), Step("times", "Mul", ["x", "g"], ["y"])], None),
        ([GUARD, Step("turn", "Pow", ["d", None], ["g"], [-0.5]), Step("times", "Mul", ["x", "g"], ["y"])], None),
        ([GUARD, Step("level", "Log", ["d"], ["y"])], None),
        ([*SPREAD, GUARD, Step("share", "Div", ["e", "d"], ["y"])], None),
        # What comes before the norm, and a sum that nothing is divided by, are computed as everything else.
        ([LAYER, Step("act", "Relu", ["x"], ["c"]), GUARD, Step("level", "Log", ["d"], ["z"])], ["guard", "level"]),
        ([*NORM, GUARD, Step("layer", "MatMul", ["d", None], ["y"])], []),
        ([GUARD, Step("share", "Div", ["d", "x"], ["y"])], []),
        ([Step("guard", "Add", ["c", None], ["d"], [1e-3]), Step("share", "Div", ["x", "d"], ["y"])], []),
    ],
)
def test_what_measures_guards_and_divides_is_kept(steps, names):
    assert Graph(steps).in_float32 == ([s.name for s in steps] if names is None else names)
