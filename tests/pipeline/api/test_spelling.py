"""api/spelling.py: a Python value comes back from Hydra's grammar as it was."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.api.spelling import override
from pipeline.errors import ConfigError

VALUES = [
    *(None, True, False, 0, -3, 2.5, 1e-9, [], [1, "2", None], {}),
    *(
        "net.pth",
        "true",
        "null",
        "nan",
        "",
        "a b",
        "it's",
        "a\\",
        "\\'",
        "a,b",
        "${x}",
        "{a: 1}",
        "[1]",
        "ß=ü",
        "1e3",
        "10",
    ),
    {"a": {"b c": [1, {"d:e": "x'y"}]}, "f": False},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_was(value):
    parsed = OverridesParser.create().parse_override(override("model.kwargs", value))
    assert parsed.key_or_group == "model.kwargs"
    assert _plain(parsed.value()) == value


def _plain(value):
    if isinstance(value, dict):
        return {str(getattr(k, "text", k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.text if hasattr(value, "text") else value


def test_a_path_is_its_text_and_an_object_is_refused():
    assert override("output", Path("/a b")) == "output='/a b'"
    with pytest.raises(ConfigError, match="list: object has no spelling"):
        override("model.kwargs", [object()])
    with pytest.raises(ConfigError, match="'true' has no spelling as a key"):
        override("model.kwargs", {"true": 1})
