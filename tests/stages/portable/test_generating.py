"""portable/generating.py: greedy tokens, rows padded on the left, and the comparison of texts."""

import numpy as np
import pytest

from stages.portable import generating
from stages.portable.generating import Batch, Text, TokenRecord

ENDS, FILLS = [2], 0


class Counting:
    """Returns the last token plus one; checks that mask and positions fit each row."""

    def start(self, rows):
        self.tokens = np.zeros((rows, 0), np.int64)

    def logits(self, ids, mask, positions):
        self.tokens = np.concatenate([self.tokens, ids], axis=1)
        assert mask.shape == self.tokens.shape
        assert (self.tokens[mask == 0] == FILLS).all()
        assert (positions[:, -1] == mask.sum(axis=1) - 1).all()
        return np.eye(12)[(ids + 1) % 12]


def test_rows_of_several_lengths_go_on_each_from_its_own_last_token_until_one_that_ends_it():
    prompts = [[5], [9, 8, 7], [9, 10, 11, 11, 11]]
    rows = generating.greedy(Counting(), prompts, 6, ENDS, FILLS)
    assert rows == [[6, 7, 8, 9, 10, 11], [8, 9, 10, 11, 0, 1], [0, 1]]


BATCH = Batch("3 tokens", [[1, 2, 3]], [[4, 5, 6]], [[0.5, 0.01, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("row", "equal", "unclear", "wrong"),
    [
        ([4, 5, 6], 3, 0, None),
        ([4, 9, 9], 1, 2, None),  # the second was too close to call, and what follows is another text
        (
            [4, 5, 9],
            2,
            0,
            "3 tokens: at 3 comes token 9, the model's is token 6, ahead of its second choice by 50.0%",
        ),
        ([9, 5, 6], 0, 0, "3 tokens: at 1 comes token 9"),
        ([4, 5], 2, 0, "3 tokens: at 3 comes the end, the model's is token 6"),
        ([4, 5, 6, 7], 3, 0, "comes token 7, the model's is the end"),
    ],
)
def test_another_token_is_wrong_unless_the_choice_was_close(row, equal, unclear, wrong):
    agreement = generating.agreement([row], BATCH, least=0.02)
    assert (agreement.equal, agreement.open) == (equal, unclear)
    assert (wrong in agreement.wrong[0]) if wrong else agreement.wrong == []


def test_what_was_asked_is_read_as_it_was_written(tmp_path):
    record = TokenRecord(3, [2], 0, [BATCH], [Text("a\n🙂", [7, 8])])
    generating.write_tokens(record, tmp_path / "tokens.json")
    assert generating.read_tokens(tmp_path / "tokens.json") == record
