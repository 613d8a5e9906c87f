"""`remote` from the command line, a YAML and the environment, and that a secret in it gets no further."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.config import compose, remotes
from pipeline.errors import ConfigError

URL, OTHER, SECRET = "s3://bucket/prefix", "gs://other", "hunter2"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRYDOCK_CONF", raising=False)
    monkeypatch.delenv("DRYDOCK_REMOTE", raising=False)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    return tmp_path


def write(home, text):
    (home / "conf" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")


@pytest.mark.parametrize(
    ("yaml", "typed", "url", "writes"),
    [
        (None, [], None, True),
        (None, [f"remote={URL}"], URL, True),
        (None, [f"remote={URL}", "remote.write=false"], URL, False),
        (None, ["remote.write=false", f"remote.url={URL}"], URL, False),
        (None, [f"+remote.url={URL}", "++remote.write=false"], URL, False),
        (None, [f"remote={{url: '{URL}', write: false}}"], URL, False),
        (f"remote: {URL}", [], URL, True),
        (f"remote: {URL}", ["remote.write=false"], URL, False),
        (f"remote: {URL}", [f"remote={OTHER}"], OTHER, True),
        (f"remote: {{url: {URL}, write: false}}", [], URL, False),
        ("remote: {write: false}", [f"remote.url={URL}"], URL, False),
        (f"remote: {URL}", ["remote=null"], None, True),
        ("remote: s3://${model.name}", [], "s3://resnet50", True),
    ],
)
def test_a_remote_is_a_url_or_a_mapping_wherever_it_is_given(home, yaml, typed, url, writes):
    write(home, yaml or "seed: 0")
    words = [*typed, *(["experiment=mine"] if yaml else [])]
    composed = compose.compose(words)
    assert composed.config["remote"] == {"url": url, "write": writes}
    assert sorted(composed.overrides) == sorted(words)


def test_a_remote_that_is_written_first_is_not_lost_to_a_url_that_comes_after(home):
    assert compose.compose(["remote.write=false", f"remote={URL}"]).config["remote"]["write"] is False


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("remote.wrote=false", "remote has no wrote"),
        ("remote.write=maybe", "remote.write is 'maybe'"),
        ("remote=[a,b]", "remote is \\['a', 'b'\\]"),
        ("remote=ftp://host/path", "ftp:// is no scheme of a remote"),
        (f"remote=s3://me:{SECRET}@bucket/x", "a user or a password"),
        (f"remote='https://host/x?sig={SECRET}'", "a query"),
        (f"remote.url=s3://me:{SECRET}@bucket/x", "a user or a password"),
    ],
)
def test_what_is_no_remote_is_refused(typed, message):
    with pytest.raises(ConfigError, match=message) as refused:
        compose.compose([typed])
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", [f"s3://me:{SECRET}@bucket", "${oc.env:WITH_SECRET}"])
def test_a_secret_in_a_yaml_is_refused_before_any_of_it_is_written_down(home, monkeypatch, text):
    monkeypatch.setenv("WITH_SECRET", f"s3://me:{SECRET}@bucket")
    write(home, f"remote: {text}")
    with pytest.raises(ConfigError, match="a user or a password") as refused:
        compose.compose(["experiment=mine"])
    assert SECRET not in str(refused.value)


def test_the_environment_names_one_where_nothing_else_does(home, monkeypatch):
    monkeypatch.setenv("DRYDOCK_REMOTE", "shared/bucket")
    configs = [compose.compose(words).config for words in ([], [f"remote={URL}"])]
    assert [str(remotes.address_of(config)) for config in configs] == [str(home / "shared" / "bucket"), URL]
    monkeypatch.setenv("DRYDOCK_REMOTE", f"s3://me:{SECRET}@bucket")
    with pytest.raises(ConfigError, match="DRYDOCK_REMOTE has a user or a password"):
        compose.compose([])


def test_a_secret_that_is_typed_is_written_nowhere(home):
    command = [sys.executable, "-m", "pipeline", f"remote=s3://me:{SECRET}@bucket/prefix"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert SECRET not in done.stdout + done.stderr
    assert [path.name for path in home.iterdir()] == ["conf"]
