"""data/sources.py: arrays in a .npz file."""

from __future__ import annotations

import numpy as np
import pytest
from sample_rows import LENGTHS, PAIR, identity, opened

from pipeline.errors import StageError
from stages.interface.interface import Input, Interface


def arrays(folder, **by_name):
    np.savez(folder / "held.npz", **by_name)
    return {"source": "arrays", "path": str(folder / "held.npz")}


def test_a_row_of_every_array_is_a_sample(tmp_path):
    a, b, labels = np.arange(6.0).reshape(3, 2), np.array([7, 8, 9]), np.array([2, 0, 1])
    rows = opened(arrays(tmp_path, a=a, b=b, labels=labels, other=np.zeros(9)), PAIR)
    assert [(r.inputs["a"].tolist(), int(r.inputs["b"]), r.label) for r in rows] == [
        ([0, 1], 7, 2),
        ([2, 3], 8, 0),
        ([4, 5], 9, 1),
    ]
    assert {n: (v.shape, v.dtype) for n, v in rows[0].inputs.items()} == {"a": ((2,), "float32"), "b": ((), "int32")}


def test_arrays_without_labels_are_samples_too(tmp_path):
    assert opened(arrays(tmp_path, x=np.zeros((1, 2))))[0].label is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"y": np.zeros((3, 2))}, r"held\.npz holds y, and no x\n  allowed: x\n  try:     save it as x=…"),
        ({"x": np.zeros((3, 4))}, r"a sample of 'x' is 4\n  allowed: \[2\]"),
        ({"x": np.zeros((3, 2, 1))}, r"a sample of 'x' is 2x1\n  allowed: \[2\]"),
        ({"x": np.zeros((3, 2)), "labels": np.zeros(4)}, r"held\.npz holds 3 x, 4 labels\n  allowed: as many of each"),
        ({"x": np.float32(3)}, r"held\.npz holds one number as x\n  allowed: \[samples, …\]"),
        ({"x": np.zeros((3, 2)), "labels": np.int64(1)}, r"held\.npz holds one number as labels"),
        ({"x": np.zeros((3, 2), complex)}, r"'x' is complex128, which float32 cannot hold\n  allowed: numbers"),
        ({"x": np.array([None, {}])}, r"held\.npz cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_will_not_do_are_named(tmp_path, content, says):
    with pytest.raises(StageError, match=says):
        opened(arrays(tmp_path, **content))


@pytest.mark.parametrize("value", [0.5, 2**31], ids=["fraction", "too large"])
def test_numbers_are_not_bent_to_fit(tmp_path, value):
    with pytest.raises(StageError, match=r"held\.npz: 'b' is .*64, which int32 cannot hold"):
        opened(arrays(tmp_path, a=np.zeros((1, 2)), b=np.full(1, value)), PAIR)


def test_a_file_that_is_no_npz_is_named(tmp_path):
    (tmp_path / "held.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(StageError, match=r"arrays: held\.npz cannot be read"):
        opened({"source": "arrays", "path": str(tmp_path / "held.npz")})


@pytest.mark.parametrize(("size", "fits"), [(1, False), (4, True), (6, False), (12, True), (16, False)])
def test_a_dynamic_dimension_is_held_to_its_range_and_its_multiple(tmp_path, size, fits):
    source = arrays(tmp_path, ids=np.zeros((1, size), np.int64))
    interface = Interface({"ids": Input(["batch", "length"], "int64")}, LENGTHS)
    if fits:
        opened(source, interface)
    else:
        with pytest.raises(StageError, match=rf"a sample of 'ids' is {size}\n"):
            opened(source, interface)


def test_an_npz_is_known_by_what_it_holds(tmp_path):
    before = identity(spec := arrays(tmp_path, x=np.zeros((3, 2))), tmp_path)
    moved = (tmp_path / "held.npz").rename(tmp_path / "moved.npz")
    assert identity({"source": "arrays", "path": str(moved)}, tmp_path) == before
    changed = np.zeros((3, 2))
    changed[2, 1] = 1e-3
    arrays(tmp_path, x=changed)
    assert identity(spec, tmp_path) != before


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, odd):
    np.savez(tmp_path / "held.npz", x=np.full((3, 2), odd, np.float32))
    with pytest.raises(StageError, match=r"held\.npz: 'x' holds NaN or infinities"):
        opened({"source": "arrays", "path": str(tmp_path / "held.npz")})[0]


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "held.npz", x=np.zeros((3, 2)))
    assert len(opened({"source": "arrays", "path": "~/held.npz"})) == 3
