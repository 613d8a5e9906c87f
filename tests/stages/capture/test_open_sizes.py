"""capture/open_sizes.py: operators that an exporter takes for the example's sizes."""

from __future__ import annotations

from conversions import agrees, checked, export, ir
from harness import backend, reference_in
from torch import nn
from torch.nn import functional

from stages.interface.interface import Dim, Input


class Pooled(nn.Module):
    """Pools to sizes that the picture's are multiples of at the example alone, and rolls by the half."""

    def forward(self, x):
        values, places = functional.adaptive_max_pool2d(x, (2, 4), return_indices=True)
        return (
            functional.adaptive_avg_pool2d(x, (3, 2)),
            functional.adaptive_avg_pool2d(x, (None, 1)),
            functional.adaptive_avg_pool1d(x[:, 0], 5),
            values,
            places,
            x.roll((x.shape[2] // 2, -1), (2, 3)),
        )


def test_pools_and_rolls_of_open_sizes_are_right_at_every_size(tmp_path):
    picture = Input(["batch", 3, "height", "width"], fill="normal")
    dims = {"batch": Dim(1, 2, 3), "height": Dim(5, 12, 17), "width": Dim(7, 8, 15)}
    graph = export("export", Pooled(), tmp_path, inputs={"x": picture}, dims=dims)
    agrees(graph, tmp_path)
    backend("openvino")
    (tmp_path / "of_ir").mkdir()
    checked(ir(graph, tmp_path / "ir"), reference_in(tmp_path), tmp_path / "of_ir")
