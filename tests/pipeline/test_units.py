"""One text for a size and for a duration, wherever people read one; and what they type is read back."""

import pytest

from pipeline import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5000, "4.9 KiB"),
        (2**20, "1.0 MiB"),
        (102_185_820, "97.5 MiB"),
        (2**30, "1.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
        (5000 * 2**40, "5000.0 TiB"),
    ],
)
def test_sizes_are_told_as_people_read_them(count, text):
    assert units.size(count) == text


@pytest.mark.parametrize("text", ["0B", "512B", "1.5KiB", "640MiB", "8GiB", "2TiB"])
def test_a_size_to_type_is_read_back_as_it_was(text):
    assert units.size_setting(units.parsed_size(text)) == text


@pytest.mark.parametrize("text", ["8 GiB", "8.0GiB"])
def test_a_size_may_be_typed_in_other_ways(text):
    assert units.parsed_size(text) == 8 * 2**30


@pytest.mark.parametrize("text", ["", "8", "8GB", "8 gib", "-1GiB", "GiB", "8GiB of it"])
def test_what_is_no_size_is_none(text):
    assert units.parsed_size(text) is None


@pytest.mark.parametrize(
    ("seconds", "text", "whole"),
    [
        (0, "0.0 s", "0 s"),
        (0.4, "0.4 s", "0 s"),
        (12.34, "12.3 s", "12 s"),
        (59.4, "59.4 s", "59 s"),
        (59.6, "59.6 s", "1 min 00 s"),
        (59.96, "1 min 00 s", "1 min 00 s"),
        (125, "2 min 05 s", "2 min 05 s"),
        (3599.6, "1 h 00 min", "1 h 00 min"),
        (7500, "2 h 05 min", "2 h 05 min"),
    ],
)
def test_durations_are_told_as_people_read_them(seconds, text, whole):
    assert (units.duration(seconds), units.duration(seconds, whole=True)) == (text, whole)
