"""YAML that cannot be read, includes itself or names what is not there: exit code 2, and the way out."""

import pytest

from pipeline import errors
from pipeline.config import compose
from pipeline.config.composed import graph_of
from pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def conf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRYDOCK_CONF", raising=False)
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    return tmp_path / "conf"


def refused(*overrides):
    with pytest.raises(ConfigError) as caught:
        compose.compose(overrides)
    assert caught.value.exit_code == errors.USAGE
    (problem,) = caught.value.problems
    assert problem.command
    return problem


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name: caf\xe9\n".encode("latin-1"), "mine.yaml: byte 9 is no UTF-8"),
        (b"\x00\xff\x80" * 99, "mine.yaml: byte 1 is no UTF-8"),
        (b"name: " + b"[" * 3000 + b"]" * 3000, "mine.yaml: it is nested too deeply"),
    ],
    ids=["latin-1", "binary", "deep"],
)
def test_a_yaml_that_cannot_be_read_is_named(conf, content, says):
    (conf / "model" / "mine.yaml").write_bytes(content)
    assert says in refused("model=mine").what


@pytest.mark.parametrize("ring", [["one"], ["one", "two", "three"]])
def test_yamls_that_include_each_other_are_named(conf, ring):
    for name, below in zip(ring, [*ring[1:], ring[0]], strict=True):
        (conf / "model" / f"{name}.yaml").write_text(f"defaults: [{below}]\n")
    names = " → ".join(f"model/{name}.yaml" for name in [*ring, ring[0]])
    assert refused("model=one").what.endswith(f"include themselves: {names}")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("model=nan", "model=nan: nan is no name of an option"),
        ("~stages", "~stages removes a key that every run needs"),
        ("model.name=${nope}", "model.name: ${nope} cannot be resolved: there is no key nope"),
    ],
)
def test_what_an_override_cannot_be_is_told_with_its_key(typed, says):
    assert refused(typed).what == says


@pytest.mark.parametrize(("value", "message"), [(None, "null"), (3, "3")])
def test_a_stage_that_is_no_mapping_is_told(value, message):
    with pytest.raises(ConfigError, match=rf"^stages.export is {message}\n.*\n.*'~stages.export' leaves it out"):
        graph_of({"stages": {"export": value}})


def test_what_cannot_be_looked_at_is_not_taken_for_absent():
    assert "cannot be read: File name too long" in refused(f"model={'x' * 300}").what
