"""A spectrogram on a scale of its own: a short-time Fourier transform of an open length."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hamming_window(100), persistent=False)
        self.register_buffer("bands", torch.rand(65, 10, generator=torch.Generator().manual_seed(0)), persistent=False)
        self.head = nn.Linear(10, 3)

    def forward(self, wave):
        z = torch.stft(wave - wave.mean(-1, keepdim=True), 128, 40, 100, self.window, return_complex=True)
        return self.head(torch.log1p(z.real.pow(2) + z.imag.pow(2)).transpose(1, 2) @ self.bands)


SPEC = {
    "inputs": {"wave": {"shape": ["batch", "samples"], "fill": "normal"}},
    "dims": {"batch": {"min": 1, "opt": 2, "max": 3}, "samples": {"min": 256, "opt": 500, "max": 1000}},
}


def inputs(rng):
    for b, n in [(1, 256), (3, 1000), (2, 333)]:
        yield {"wave": rng.standard_normal((b, n), "float32")}
