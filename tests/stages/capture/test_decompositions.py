"""capture/decompositions.py: operators in simpler ones answer as torch's own."""

from __future__ import annotations

import pytest
import torch
from conversions import agrees, capture, checked, coreml, export, ir
from harness import BATCH, reference_in
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stages.capture import decompositions, matrices
from stages.interface.interface import Input

ATEN, DRAWN = torch.ops.aten, torch.Generator().manual_seed(0)
X = torch.randn(3, 4, 6, generator=DRAWN)
TIES, WHOLE = torch.round(X * 1.5), torch.randint(-3, 4, (3, 5), generator=DRAWN)
GAPS = torch.where(X > 1, float("nan"), X)
SQUARE = torch.randn(3, 4, 4, generator=DRAWN)
POSITIVE, SWAPS = SQUARE @ SQUARE.mT + torch.eye(4), torch.tensor([[0.0, 1], [1, 0]])
TWICE = torch.tensor([0, 1, 1, 3])[:, None].expand(3, 4, 4).contiguous()
SIGNS = torch.tensor([0.0, -0.0, 1, -1, 2, -3])
PAIR = torch.tensor([0, 2])
IDS = torch.tensor([2**40 + 1, -(2**40) - 1, 2**24 + 1, -7, 7, -1, 0])  # float32 cannot represent the first three


def case(operator, *args, **kwargs):
    return pytest.param(operator, args, kwargs, id=f"{operator} {len(args)} {kwargs or ''}")


CASES = [
    *(case(o, x, d) for o in (ATEN.cummax.default, ATEN.cummin.default) for x, d in ((TIES, 1), (X, -1), (WHOLE, 0))),
    *(case(ATEN.cumprod.default, x, 1) for x in (X, WHOLE)),
    case(ATEN.cumprod.default, X, 0, dtype=torch.float64),
    case(ATEN.logcumsumexp.default, X, 1),
    *(case(ATEN._adaptive_avg_pool2d.default, X, size) for size in ([3, 2], [1, 4])),
    case(ATEN._adaptive_avg_pool3d.default, X[None], [2, 3, 4]),
    case(ATEN.adaptive_max_pool2d.default, X, [3, 2]),
    *(case(ATEN.div.Tensor_mode, IDS, torch.tensor(7), rounding_mode=r) for r in ("floor", "trunc")),
    *(case(ATEN.div.Scalar_mode, IDS, d, rounding_mode=r) for r in ("floor", "trunc") for d in (7, -7)),
    *(case(o, IDS, 3) for o in (ATEN.__rshift__.Scalar, ATEN.bitwise_right_shift.Tensor_Scalar)),
    *(case(ATEN.sort.stable, TIES, stable=True, dim=1, descending=d) for d in (False, True)),
    case(ATEN.kthvalue.default, X, 2, 1),
    case(ATEN.kthvalue.default, X, 2, -1, True),
    *(case(ATEN.median.default, x) for x in (X, GAPS, WHOLE)),
    *(case(ATEN.median.dim, x, 1) for x in (X, GAPS)),
    case(ATEN.nanmedian.default, GAPS),
    *(case(ATEN.nanmedian.dim, GAPS, d, k) for d, k in ((1, True), (2, False))),
    *(case(ATEN.mode.default, x, 1, k) for x, k in ((TIES, False), (WHOLE, True))),
    *(case(ATEN.searchsorted.Tensor, torch.arange(-2.0, 3), TIES, right=r) for r in (False, True)),
    case(ATEN.searchsorted.Tensor, X.sort()[0], X[..., :2].contiguous(), side="right", out_int32=True),
    case(ATEN.searchsorted.Tensor, X, X, sorter=X.argsort()),
    *(case(ATEN.cdist.default, X, X.flip(1), p) for p in (0.0, 1.0, 2.0, 3.0, float("inf"))),
    case(ATEN.cdist.default, torch.randn(30, 6, generator=DRAWN), X[0]),
    case(ATEN.hypot.default, X * 1e30, X.flip(1)),
    case(ATEN.hypot.default, X * 0, X * 0),
    case(ATEN.copysign.Tensor, X, SIGNS),
    *(case(o, GAPS, X.flip(1)) for o in (ATEN.fmax.default, ATEN.fmin.default)),
    case(ATEN.erfinv.default, torch.linspace(-1, 1, 101)),
    *(case(ATEN.scatter_reduce.two, SQUARE, 1, TWICE, SQUARE * 2, "mean", include_self=i) for i in (False, True)),
    case(ATEN.scatter_reduce.two, WHOLE, 1, torch.zeros(3, 2, dtype=torch.int64), WHOLE, "mean"),
    *(
        case(ATEN.index_reduce.default, SQUARE, 1, PAIR, SQUARE[:, :2] * 3, how, include_self=i)
        for how in ("amax", "mean", "prod")
        for i in (False, True)
    ),
    *(case(ATEN.put.default, SQUARE, torch.tensor([0, -1, 5]), torch.ones(3), a) for a in (False, True)),
    *(
        case(ATEN.diagonal_scatter.default, torch.zeros(2, 5, 3, 4), X[:2, :3, :n], o, 1, 3)
        for o, n in ((0, 4), (-2, 3))
    ),
    *(case(ATEN.linalg_matrix_exp.default, x) for x in (SQUARE, SQUARE * 0, -POSITIVE * 100)),
    *(case(ATEN.linalg_det.default, x) for x in (SQUARE, SQUARE[0] * 0, SWAPS)),
    *(case(o, POSITIVE) for o in (ATEN.linalg_slogdet.default, ATEN.logdet.default)),
    *(case(ATEN.linalg_inv.default, x) for x in (SQUARE, SWAPS)),
    *(case(ATEN.linalg_solve.default, SQUARE, x) for x in (SQUARE.flip(1), SQUARE[:, 0], SQUARE[0], SQUARE[0, 0])),
    case(ATEN.linalg_solve.default, SQUARE, SQUARE.flip(1), left=False),
    case(ATEN.linalg_solve_triangular.default, POSITIVE, SQUARE, upper=False),
    case(ATEN.linalg_solve_triangular.default, POSITIVE, SQUARE, upper=True, left=False, unitriangular=True),
    *(case(ATEN.linalg_cholesky.default, POSITIVE, upper=u) for u in (False, True)),
]


def flat(returned):
    return list(returned) if isinstance(returned, (tuple, list)) else [returned]


class Noting(TorchDispatchMode):
    """Notes each operator that is called."""

    def __init__(self):
        super().__init__()
        self.called = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.called.add(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("operator", "args", "kwargs"), CASES)
def test_a_decomposition_answers_as_the_operator_without_it(operator, args, kwargs):
    function = decompositions.by_name([str(operator)])[operator]
    with Noting() as noting:
        actual = flat(function(*args, **kwargs))
    assert operator not in noting.called
    torch.testing.assert_close(actual, flat(operator(*args, **kwargs)), equal_nan=True, rtol=2e-5, atol=1e-5)


def test_every_operator_of_ours_has_a_case():
    assert {*decompositions.ours()} - {c.values[0] for c in CASES} <= {
        ATEN.det.default,
        ATEN.slogdet.default,
        ATEN.linalg_slogdet.default,
        ATEN.inverse.default,
        ATEN.roll.default,  # only where a shift is open
    }


def test_what_is_not_known_is_left_as_it_is():
    many = torch.eye(matrices.MOST_ROWS + 1)
    assert decompositions.ours()[ATEN.linalg_inv.default](many) is NotImplemented
    assert decompositions.ours(but=[ATEN.cummax.default]).keys() == decompositions.ours().keys() - {ATEN.cummax.default}


class AlongADimension(nn.Module):
    """What has no translation to ONNX, over a dynamic length."""

    def forward(self, x):
        values, places = torch.sort(torch.round(x), dim=1, stable=True, descending=True)
        highest, at = x.cummax(1)
        return values, places, highest, at, x.cummin(1)[0], x.logcumsumexp(1)


class OfMatrices(nn.Module):
    """The same of matrices."""

    def forward(self, x):
        unit = torch.eye(4)
        square = x @ x.mT + unit
        roots = torch.linalg.cholesky(square)
        return (
            x.median(1)[0],
            torch.matrix_exp(x * 0.2),
            torch.linalg.inv(square),
            torch.linalg.det(x),
            roots,
            torch.cdist(x, x + 1),
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (AlongADimension(), {"x": Input(["batch", "t", 6], fill="normal")}),
        (OfMatrices(), {"x": Input(["batch", 4, 4], fill="normal")}),
    ],
    ids=["along a dimension", "matrices"],
)
@pytest.mark.parametrize("way", ["onnx", "openvino by onnx", "openvino", "coreml"])
def test_what_has_no_translation_is_decomposed(net, inputs, way, tmp_path):
    dims = {name: BATCH["batch"] for name in ("batch", "t") if name in inputs["x"].shape}
    arguments = {"inputs": inputs, "dims": dims}
    if "onnx" in way:
        exported = export("export", net, tmp_path, **arguments)
        agrees(ir(exported, tmp_path / "ir") if way != "onnx" else exported, tmp_path)
        return
    program = capture("export", net, tmp_path, **arguments)
    to = ir if way == "openvino" else coreml
    checked(to(program, tmp_path / way), reference_in(tmp_path), tmp_path)
