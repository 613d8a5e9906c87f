"""reference/tables.py: which constant of an artifact is a table of the model's, and which rows of it are another's."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from stages.reference import tables

LOOKED_UP = np.arange(50) < 5
UNKNOWN = "rows that no question looks up: the artifact has no such table in floating-point numbers"
with torch.random.fork_rng():
    torch.manual_seed(0)  # a row whose marks are near zero would hide a change of it
    NET = nn.ModuleDict({"a": nn.Embedding(50, 8, padding_idx=0), "b": nn.Embedding(50, 8, padding_idx=0)})
A, B = (NET[n].weight.detach().numpy() for n in "ab")


def changed(row, by):
    rows = A.copy()
    rows[row] *= by
    return rows


def compared(matrices, looked_up=LOOKED_UP):
    return tables.compared(list(tables.looked_up(NET, {"a.weight": looked_up})), matrices)


@pytest.mark.parametrize(
    "matrices",
    [[A], [A.T], [B, A], [A.astype("f2")], [A * 2, A]],
    ids=["as it is", "transposed", "two", "float16", "scaled"],
)
def test_a_table_is_found_however_it_lies(matrices):
    assert compared(matrices) == ([], {})


@pytest.mark.parametrize("matrix", [changed(30, 1.00001), changed(30, 1.02).astype("f2"), changed(30, 1.01).T])
def test_a_row_that_is_another_is_named(matrix):
    assert compared([B, matrix]) == (["row 30 of a.weight"], {})


@pytest.mark.parametrize("matrices", [[], [A * 2], [B]], ids=["no table", "scaled", "another of its shape"])
def test_what_cannot_be_told_to_be_the_table_is_not_compared_where_rows_were_not_looked_up(matrices):
    assert compared(matrices) == ([], {"a.weight": f"45 {UNKNOWN}"})
    assert compared(matrices, np.ones(50, bool)) == ([], {})


def test_another_that_stands_beside_the_table_is_named():
    assert compared([A, changed(30, 1.01)])[0] == ["row 30 of a.weight"]


def test_a_copy_of_which_some_rows_were_trained_further_is_a_table_of_its_own():
    further = nn.ModuleDict({"a": nn.Embedding(50, 8), "b": nn.Embedding(50, 8)})
    further["b"].weight.data[:] = further["a"].weight
    further["b"].weight.data[7] += 1
    both = list(tables.looked_up(further, {"a.weight": LOOKED_UP, "b.weight": LOOKED_UP}))
    weights = [further[n].weight.detach().numpy() for n in "ab"]
    assert tables.compared(both, weights) == ([], {})


def test_a_row_that_was_looked_up_is_compared_too():
    assert compared([changed(2, 1.01)])[0] == ["row 2 of a.weight"]


def test_a_large_table_is_not_widened_as_a_whole(monkeypatch):
    monkeypatch.setattr(tables, "CHUNK", 2**7)
    table = np.ones((2**12, 64), "f4")
    tracemalloc.start()
    tables.compared(list(tables.looked_up(nn.Embedding(*table.shape), {"weight": np.ones(len(table), bool)})), [table])
    assert tracemalloc.get_traced_memory()[1] < table.nbytes
    tracemalloc.stop()
