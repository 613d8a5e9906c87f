"""interface/labels.py: names of scores, as files have them."""

from __future__ import annotations

import pytest
from harness import world

from pipeline.errors import ConfigError
from stages.interface.labels import DistinctLabels, Labels


def settled(text, folder, kind=Labels):
    (folder / "labels.txt").write_bytes(text)
    return kind().settle("labels", str(folder / "labels.txt"), world(folder))


@pytest.mark.parametrize(
    "text", [b"cat\ndog\n", b"\xef\xbb\xbfcat\ndog", b"cat\r\ndog\r\n", b"cat\n\ndog\n\n", b" cat\t\ndog "]
)
def test_marks_and_blank_lines_are_no_labels(text, tmp_path):
    assert settled(text, tmp_path) == ["cat", "dog"]


def test_a_label_that_occurs_twice_is_refused_where_scores_go_by_name(tmp_path):
    twice = b"crane\ndog\ncrane\nfish\n"
    assert len(settled(twice, tmp_path)) == 4
    with pytest.raises(ConfigError, match="labels has crane more than once: 'crane' at 0, 2"):
        settled(twice, tmp_path, DistinctLabels)
    with pytest.raises(ConfigError, match="'a' at 0, 1"):
        DistinctLabels().settle("labels", ["a", "a"], world(tmp_path))
