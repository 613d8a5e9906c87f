"""reference/tables.py: which constant of an artifact is a table of the model's, and which rows of it are another's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stages.reference import tables

SEEN = np.arange(50) < 5
NET = nn.ModuleDict({"a": nn.Embedding(50, 8, padding_idx=0), "b": nn.Embedding(50, 8, padding_idx=0)})
A, B = (NET[n].weight.detach().numpy() for n in "ab")


def changed(row, by):
    found = A.copy()
    found[row] *= by
    return found


def compared(matrices, seen=SEEN):
    return tables.compared(tables.of(NET, {"a.weight": seen}), matrices)


@pytest.mark.parametrize(
    "matrices",
    [[A], [A.T], [B, A], [A.astype("f2")], [A * 2, A]],
    ids=["as it is", "transposed", "two", "float16", "scaled"],
)
def test_a_table_is_found_however_it_lies(matrices):
    assert compared(matrices) == ([], {})


@pytest.mark.parametrize("matrix", [changed(30, 1.00001), changed(30, 1.02).astype("f2"), changed(30, 1.01).T])
def test_a_row_that_is_another_is_named(matrix):
    assert compared([B, matrix]) == (["row 30 of a.weight, of 45 rows that no question looks up"], {})


@pytest.mark.parametrize(
    ("matrices", "seen"),
    [([], SEEN), ([A * 2], SEEN), ([B], np.arange(50) < 1), ([changed(30, 2)], np.zeros(50, bool))],
    ids=["no table", "another", "only its padding was seen", "nothing was seen"],
)
def test_what_cannot_be_told_to_be_the_table_is_not_compared(matrices, seen):
    wrong, not_compared = compared(matrices, seen)
    assert (wrong, list(not_compared)) == ([], ["a.weight"])


def test_a_table_of_which_all_is_seen_needs_no_comparing():
    assert list(tables.of(NET, {"a.weight": torch.ones(50).bool().numpy()})) == []
