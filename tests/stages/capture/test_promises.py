"""capture/promises.py: a capture answers as the model at every size of dims, or is refused, or says NOT CHECKED."""

from __future__ import annotations

import re

import pytest
import torch
from conversions import capture
from harness import VECTOR, module, record, run_stage
from nets import Attention, TwoOutputs, ValueBranch
from torch import nn

from pipeline.errors import CheckFailed
from stages.capture import paths, promises
from stages.capture.capture_export import CaptureExport
from stages.interface.interface import Dim, Input

HW = {"x": Input([1, 3, "h", "w"], fill="normal")}, {"h": Dim(8, 16, 32), "w": Dim(8, 16, 32)}
BT = {"x": Input(["batch", "t", 8], fill="normal")}, {"batch": Dim(1, 2, 4), "t": Dim(2, 8, 40)}
QK = (
    {"q": Input(["batch", "lq", 8], fill="normal"), "k": Input(["batch", "lk", 8], fill="normal")},
    {"batch": Dim(1, 2, 4), "lq": Dim(1, 8, 32), "lk": Dim(1, 12, 32)},
)


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, (3, 5), padding=(1, 2))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)


class Portrait(Pixels):
    def forward(self, x):
        if x.shape[2] > x.shape[3]:  # here
            x = x.flip(2)
        return self.conv(x)


class Crop(Pixels):
    def forward(self, x):
        side = min(x.shape[2], x.shape[3])  # here
        return self.conv(x[..., :side, :side])


class Middle(Tokens):
    def forward(self, x):
        return -self.head(x) if 12 < x.shape[1] <= 16 else self.head(x)  # here


class Area(Tokens):
    def forward(self, x):
        batch, length, _ = x.shape
        y = self.head(x)
        if batch * length > 40 and length > 2 * batch:  # here
            y = y.cumsum(1)
        return y


class Alone(Tokens):
    def forward(self, x):
        y = self.head(x)
        if x.shape[0] == 1 and x.shape[1] > 20:  # here
            y = 2 * y
        return y


class Limit(Tokens):
    """Differs only where values are large."""

    def forward(self, x):
        y = self.head(x)
        if x.shape[0] * x.shape[1] > 50:  # here
            y = y.clamp(max=20)
        return y


class LongerQuery(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, q, k):
        if q.shape[1] > k.shape[1]:  # here
            return self.other(q).sum(1)
        return self.one(q).sum(1) + k.mean((1, 2))[:, None]


class Padded(Pixels):
    def forward(self, x):
        h, w = x.shape[2:]
        if h % 4 or w % 4:  # here
            x = nn.functional.pad(x, (0, -w % 4, 0, -h % 4))
        return nn.functional.avg_pool2d(self.conv(x), 4)


class Listed(nn.Module):
    """The middle of three layers at lengths that no question has."""

    def __init__(self) -> None:
        super().__init__()
        self.ends, self.middle = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        heads = [*[self.ends] * 5, self.middle, *[self.ends] * 4]
        return heads[x.shape[1] // 5](x)  # here


BRANCHES = [
    (Portrait, HW, "h <= w"),
    (Middle, BT, "t <= 12"),
    (Area, BT, r"batch\*t <= 40"),
    (Alone, BT, "batch > 1"),
    (Limit, BT, r"batch\*t <= 50"),
    (LongerQuery, QK, "lq <= lk"),
    (Padded, HW, r"\(h % 4\) == 0"),
]


def captured(how, net, interface, folder):
    return capture(how, net, folder, inputs=interface[0], dims=interface[1])


class Halves(nn.Module):
    """As SEW: every second step, each twice, padded to the length that it had."""

    def forward(self, x):
        y = x[:, 1::2].repeat_interleave(2, 1)
        if y.shape[1] < x.shape[1]:
            y = nn.functional.pad(y, (0, 0, 0, x.shape[1] - y.shape[1]))
        return x + y


@pytest.mark.parametrize(("net", "interface"), [(Halves, BT), pytest.param(Padded, HW, marks=pytest.mark.slow)])
def test_a_branch_that_pads_is_captured_where_it_is_taken(net, interface, tmp_path):
    module = net()
    result = captured("export", module, interface, tmp_path)
    assert re.search(r"torch\.export at .*=\d+, which is right at all sizes", result.notes["says"])
    program = result.live.module(check_guards=False)  # they are what was tried
    for sizes in paths.spread(interface[1], 9):
        x = torch.rand(interface[0]["x"].at(sizes))
        torch.testing.assert_close(program(x)[0], module(x))


@pytest.mark.parametrize(
    ("net", "interface", "condition"),
    [
        pytest.param(*row, marks=() if row[0] in (Portrait, Alone, LongerQuery) else pytest.mark.slow)
        for row in BRANCHES
        if row[0] is not Padded
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_an_export_that_froze_a_branch_is_refused_with_line_condition_size_and_the_way_out(
    net, interface, condition, tmp_path
):
    with pytest.raises(CheckFailed) as caught:
        captured("export", net(), interface, tmp_path)
    message = str(caught.value)
    assert re.search(rf"{condition}(:|, which).* (at|so at) [\w=, ]*\d", message)
    assert re.search(r"\n +at \S*test_promises\.py:\d+ in forward: .*# here", message)
    assert "capture=script, which keeps the branch" in message


@pytest.mark.parametrize(
    ("net", "interface", "condition"),
    [pytest.param(*row, marks=() if row[0] in (Area, Padded) else pytest.mark.slow) for row in BRANCHES],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_a_trace_that_froze_a_branch_is_refused_with_line_and_size(net, interface, condition, tmp_path):
    with pytest.raises(CheckFailed, match=r"(?s)another at [\w=, ]+\d: .*# here.*try: .*capture=script, which keeps"):
        captured("trace", net(), interface, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "interface", "condition"), BRANCHES, ids=lambda v: getattr(v, "__name__", None))
def test_what_is_recommended_keeps_the_branch(net, interface, condition, tmp_path):
    model = net().eval()
    scripted = torch.jit.load(captured("script", model, interface, tmp_path).file)
    for big in interface[1]:  # each dimension the largest once
        sizes = {n: d.max if n == big else d.min for n, d in interface[1].items()}
        inputs = [torch.randn(spec.at(sizes)) for spec in interface[0].values()]
        torch.testing.assert_close(scripted(*inputs)[0], model(*inputs), rtol=1e-4, atol=1e-5)


def test_a_trace_that_took_the_smaller_of_two_sizes_for_the_first_is_refused(tmp_path):
    with pytest.raises(CheckFailed, match=r"(?s)another at h=\d+, w=\d+: output 'output' has shape .*test_promises"):
        captured("trace", Crop(), HW, tmp_path)


@pytest.mark.parametrize(("how", "says"), [("trace", "another at"), ("export", r"only where \(t // 5\) == 1: at")])
def test_a_capture_that_took_the_layer_of_one_size_is_refused(how, says, tmp_path):
    with pytest.raises(CheckFailed, match=rf"{says} batch=\d, t=2[5-9](:|,) output"):
        captured(how, Listed(), BT, tmp_path)


def test_a_condition_of_torchs_own_that_changes_nothing_is_no_failure(tmp_path):
    captured_ = captured("export", Crop(), HW, tmp_path)
    assert captured_.notes["caution"] == ""
    assert any("w == min(h, w) is not so at h=8, w=9" in line for line in captured_.notes["claims"]["sizes"]["asked"])


class Talks(Tokens):
    """Takes another way, and answers the same."""

    def forward(self, x):
        if x.shape[0] * x.shape[1] > 50:
            self.last = "large"
        return self.head(x)


@pytest.mark.parametrize("how", ["export", "trace"])
def test_a_way_that_makes_no_difference_is_no_failure(how, tmp_path):
    captured_ = captured(how, Talks(), BT, tmp_path)
    assert captured_.notes["caution"] == ""
    assert "the same answers there" in captured_.notes["claims"]["sizes"]["asked"][0]


@pytest.mark.parametrize(("how", "net"), [("export", TwoOutputs), ("trace", TwoOutputs), ("export", Attention)])
def test_a_model_without_branches_has_nothing_to_claim(how, net, tmp_path):
    inputs = {} if net is TwoOutputs else {"inputs": BT[0], "dims": BT[1]}
    result = capture(how, net(), tmp_path, **inputs)
    assert (result.notes["caution"], "claims" in result.notes) == ("", False)


def test_a_branch_whose_other_side_was_not_found_is_not_checked_by_name(tmp_path):
    result = capture("trace", ValueBranch(), tmp_path, inputs=VECTOR)
    (line,) = result.notes["claims"]["sizes"]["not_checked"]
    assert re.search(r"at nets\.py:\d+; .*forward cannot be run without data", line)
    assert result.notes["caution"] == f"NOT CHECKED: {line}"


class Refuses(Tokens):
    """Rejects sizes in the middle of its range."""

    def forward(self, x):
        if x.shape[0] * x.shape[1] == 60:
            raise ValueError("sixty is not served")
        return self.head(x)


def test_sizes_that_the_model_itself_rejects_are_told(tmp_path):
    captured_ = captured("export", Refuses(), BT, tmp_path)
    assert re.search(
        r"NOT CHECKED: batch=\d, t=\d\d, which the model itself rejects, at test_promises", captured_.notes["caution"]
    )


def test_a_condition_that_nothing_proves_is_not_checked_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(promises.conditions, "EXHAUSTIVE", 4)
    captured_ = captured("export", Far(), BT, tmp_path)
    assert re.search(
        r"NOT CHECKED: whether .* holds at every size, at test_promises\.py:\d+", captured_.notes["caution"]
    )


class Far(Tokens):
    """True everywhere, and no range of sizes says so."""

    def forward(self, x):
        batch, length, _ = x.shape
        return self.head(x) if (batch * length + batch) % (length + 1) == 0 else -self.head(x)


class Counts(Tokens):
    """Writes a buffer, and branches."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return self.head(x) if x.shape[0] < 4 else self.head(2 * x)


def test_the_model_is_left_as_it_was(tmp_path):
    net, state = Counts().eval(), torch.random.get_rng_state()
    with pytest.raises(CheckFailed):
        captured("export", net, BT, tmp_path)
    assert (float(net.seen), net.seen.device.type) == (0, "cpu")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_program_that_stays_in_memory_says_so_too(tmp_path):
    inputs, dims = HW
    arguments = {
        "module": module(Crop()),
        "reference": record(Crop(), tmp_path / "reference", inputs=inputs, dims=dims),
    }
    result = run_stage(CaptureExport(1), arguments, tmp_path / "made")
    assert result.folder is None
    assert result.notes["claims"]["sizes"]["asked"]


class Bounded(Tokens):
    """Rejects a batch of one, but for short texts."""

    def forward(self, x):
        if x.shape[0] == 1 and x.shape[1] > 30:
            raise ValueError("one long text is not served")
        return self.head(x)


def test_a_way_that_ends_in_the_models_own_refusal_is_told(tmp_path):
    captured_ = captured("export", Bounded(), BT, tmp_path)
    assert captured_.notes["claims"]["sizes"]["asked"]
    assert all("the same answers there" in line for line in captured_.notes["claims"]["sizes"]["asked"])
