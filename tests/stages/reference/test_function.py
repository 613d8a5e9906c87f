"""reference/function.py, eager_model.py: a model whose answers differ when it is asked again is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from harness import VECTOR, record
from torch import nn

from pipeline.errors import CHECK_FAILED, CheckFailed
from stages.interface.interface import Dim, Input
from stages.reference import cases as reference_cases
from stages.reference.eager_model import EagerModel


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(4))
        self.seen = 0


class Dropping(Head):
    def forward(self, x):
        return self.head(F.dropout(x, 0.5))


class Noisy(Head):
    def forward(self, x):
        return self.head(x) + torch.randn_like(x)


class Counting(Head):
    def forward(self, x):
        self.calls += 1
        return self.head(x) + self.calls


class Replacing(Head):
    def forward(self, x):
        self.mean = self.mean * 0.9 + x.mean(0)
        return self.head(x) - self.mean


class Remembering(Head):
    def forward(self, x):
        self.seen += 1
        return self.head(x) + self.seen


class Hidden(Head):
    def forward(self, x):
        CALLS.append(len(x))
        return self.head(x) + len(CALLS)


class PerBatch(Head):
    """Begins anew where the batch has another size, as Silero's does."""

    size: int
    state: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.size, self.state = 0, torch.zeros(1)

    def forward(self, x):
        if self.size != len(x):
            self.state = torch.zeros(1)
        self.state = self.state + x.mean()
        self.size = len(x)
        return self.head(x) + self.state


CALLS = []


@pytest.mark.parametrize(
    ("net", "cause"),
    [
        (
            Dropping(),
            r"forward draws random numbers: dropout.* at test_function\.py:\d+\n.*\n.*training=self\.training",
        ),
        (Noisy(), r"forward draws random numbers: randn_like at test_function\.py:\d+"),
        (Counting(), "forward writes to calls\n"),
        (Replacing(), "forward writes to mean\n"),
        (Remembering(), "forward sets seen\n.*\\n.*model.part=head, if such a part takes it"),
        (Hidden(), "no buffer or attribute was written to .* keeps its state elsewhere"),
        (PerBatch(), "at min .* forward sets state\n"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_a_model_that_answers_otherwise_when_asked_again_is_told_with_the_cause(net, cause, tmp_path):
    with pytest.raises(CheckFailed, match=f"(?s)answers differ when it is asked again.*{cause}") as caught:
        record(net, tmp_path / "out", inputs=VECTOR)
    assert caught.value.exit_code == CHECK_FAILED == 5


def test_the_attributes_that_torchscript_sets_are_named():
    asked = EagerModel(torch.jit.script(nn.Sequential(PerBatch())), None)
    assert asked.set_attributes({"x": np.ones((2, 4), "f4")}) == ["0.state", "0.size"]


class Seldom(Head):
    def forward(self, x):
        return self.head(x) * torch.bernoulli(torch.full((len(x), 1), 0.999))


class Unused(Head):
    """Draws what it makes nothing of, and attends, which may draw."""

    def forward(self, x):
        torch.empty(4).normal_()
        return self.head(F.scaled_dot_product_attention(x[None], x[None], x[None])[0]) + 0 * torch.rand(4)


def test_random_numbers_that_are_seldom_drawn_are_told(tmp_path):
    pattern = (
        r"with other random numbers: .* forward draws random numbers: dropout or bernoulli at test_function\.py:\d+"
    )
    with pytest.raises(CheckFailed, match=pattern):
        record(Seldom(), tmp_path / "out", inputs=VECTOR)


def test_random_numbers_that_change_no_answer_do_no_harm(tmp_path):
    record(Unused(), tmp_path / "out", inputs=VECTOR)


class Caching(Head):
    """Keeps what it made for the longest input so far, as rotary embeddings do: the answers stay a function."""

    def forward(self, x):
        if self.calls == 0 or len(self.mean) < 4 * len(x):
            self.calls, self.mean = torch.ones(()), torch.arange(4.0 * len(x))
        return self.head(x) + self.mean[:4]


class Hands(Head):
    """Returns the buffer that it writes to, whose values are a function of the input."""

    def forward(self, x):
        self.mean.copy_(x.mean(0))
        return self.mean


@pytest.mark.parametrize("net", [Caching(), Hands()], ids=["cache", "buffer returned"])
def test_a_buffer_that_is_written_to_without_harm_is_put_back(net, tmp_path):
    before = {n: (b, b.clone()) for n, b in net.named_buffers()}
    cases = list(reference_cases.read(record(net, tmp_path / "out", inputs=VECTOR, outputs=["y"])))
    assert all(dict(net.named_buffers())[n] is b and torch.equal(b, values) for n, (b, values) in before.items())
    assert len({c.outputs["y"].tobytes() for c in cases}) == len(cases)


class Encoder(nn.Module):
    """As every tutorial has it: the fast path answers zeros at padded places."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, x, mask):
        return self.layers(x, src_key_padding_mask=mask == 0)


def test_attention_is_asked_without_its_fast_path(tmp_path):
    inputs = {"x": Input(["batch", "t", 8], fill="normal"), "mask": Input(["batch", "t"], "int64", "mask")}
    dims = {"batch": Dim(1, 2, 3), "t": Dim(2, 6, 8)}
    for case in reference_cases.read(record(Encoder(), tmp_path / "out", inputs=inputs, dims=dims, outputs=["y"])):
        assert case.outputs["y"].any(axis=-1).all()
    assert torch.backends.mha.get_fastpath_enabled()
