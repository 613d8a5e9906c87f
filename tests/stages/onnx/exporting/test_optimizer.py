"""onnx/exporting/optimizer.py: constants near zero and one stay in the graph that the dynamo exporter writes,
and its rules take no longer than they have to.
"""

from __future__ import annotations

import onnx
import onnxscript.optimizer
import pytest
import torch
from conversions import export
from harness import VECTOR
from onnxscript.rewriter._matcher import SimplePatternMatcher
from torch import nn

from stages.formats import session
from stages.onnx import file as onnx_file
from stages.onnx.exporting import optimizer


class Calls(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self._function = function

    def forward(self, x):
        return self._function(x)


def shares(x):
    y = torch.relu(x)
    return y / (y.pow(2).sum(-1, keepdim=True).sqrt() + 1e-8)


FUNCTIONS = {
    "+ 1e-8 under a fraction": shares,
    "+ 1e-10 in a logarithm": lambda x: torch.log(x.pow(2) + 1e-10),
    "1e-12 +, the other way round": lambda x: (1e-12 + x.abs()).rsqrt(),
    "a standard deviation + 1e-9": lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-9),
    "- -1e-9": lambda x: 1 / (x.abs() - -1e-9),
}


QUICK = ("+ 1e-8 under a fraction", "1e-12 +, the other way round", "- -1e-9")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FUNCTIONS])
def test_a_small_number_added_is_still_there_for_a_row_of_zeros(name, tmp_path):
    graph = export("export", Calls(FUNCTIONS[name]), tmp_path, inputs=VECTOR)
    zeros = torch.zeros(3, 4)
    (output,) = session.open_session(graph, "float32")({"input": zeros.numpy()}).values()
    torch.testing.assert_close(torch.from_numpy(output), FUNCTIONS[name](zeros), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x: x * 1.000005 * 3, 2),
        (lambda x: (x / 0.999995).relu(), 2),
        pytest.param(lambda x: x * 1.0 * 3, 1, marks=pytest.mark.slow),
        (lambda x: ((x + 0.0) / 1.0).relu(), 1),
    ],
)
def test_what_changes_nothing_goes_and_what_changes_a_little_stays(function, count, tmp_path):
    graph = export("export", Calls(function), tmp_path, inputs=VECTOR)
    assert len(onnx_file.read(graph.file).graph.node) == count


def test_a_rule_sees_the_nodes_of_its_operator_alone_and_rewrites_the_same(tmp_path, monkeypatch):
    function = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), Calls(lambda x: x[..., :1] + x[..., 1:2])
    )
    with torch.no_grad():
        program = torch.onnx.export(
            function.eval(), (torch.rand(1, 3, 8, 8),), dynamo=True, optimize=False, verbose=False
        )
    proto, seen, first = program.model_proto, [], SimplePatternMatcher._multi_match

    def watched(self, candidate, *arguments, **options):
        nodes = list(candidate)
        seen.append(nodes[0].op_type)
        return first(self, nodes, *arguments, **options)

    monkeypatch.setattr(SimplePatternMatcher, "_multi_match", watched)
    plain = onnxscript.optimizer.optimize(proto)
    everything = set(seen)
    seen.clear()
    with optimizer.operators_first():
        assert onnxscript.optimizer.optimize(proto) == plain
    assert everything > {"Slice"} == set(seen)


class Bundle(nn.Module):
    """Outputs, an input and a buffer with the names of operators."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.register_buffer("sub", torch.arange(4.0))

    def forward(self, x, relu):
        y = self.head(x) - self.sub
        y = torch.cond(y.sum() > 0, lambda v: v.relu(), lambda v: v.exp(), (y - y.mean(-1, keepdim=True),))
        return {"mean": y.relu() + relu, "sub": y - relu, "val_0": y.mean(-1), "exp": y.exp()}


@pytest.mark.slow
def test_outputs_and_inputs_may_be_named_as_operators_are(tmp_path):
    net = Bundle().eval()
    graph = export("export", net, tmp_path, inputs={"x": VECTOR["input"], "relu": VECTOR["input"]})
    model = onnx.load(graph.file)
    onnx.checker.check_model(model, full_check=True)
    assert [o.name for o in model.graph.output] == ["mean", "sub", "val_0", "exp"]
    x, other = torch.randn(3, 4), torch.randn(3, 4)
    outputs = session.open_session(graph, "float32")({"x": x.numpy(), "relu": other.numpy()})
    for name, expected in net(x, other).items():
        torch.testing.assert_close(torch.from_numpy(outputs[name]), expected, rtol=1e-4, atol=1e-5)
