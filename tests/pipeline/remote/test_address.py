"""Where a remote may be, and that nothing secret and no path of a stranger's gets further than that."""

import hashlib

import pytest

from pipeline.errors import ConfigError
from pipeline.remote.address import Address
from pipeline.remote.names import manifest, read_manifest
from pipeline.store.files import FileRecord, tree_digest

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("typed", "url", "writable"),
    [
        ("s3://bucket/a/prefix/", "s3://bucket/a/prefix", True),
        ("gs://bucket", "gs://bucket", True),
        ("az://container/prefix", "az://container/prefix", True),
        ("https://host:8443/path", "https://host:8443/path", False),
        ("/shared/with space", "file:///shared/with%20space", True),
    ],
)
def test_an_address_says_where_and_whether_one_can_write_there(typed, url, writable):
    address = Address.parse(typed)
    assert (address.url, address.writable) == (url, writable)
    assert str(address) == typed.rstrip("/")


@pytest.mark.parametrize(
    "typed",
    [
        f"s3://AKIA:{SECRET}@bucket/prefix",
        f"https://{SECRET}@host/path",
        f"https://host/path?X-Amz-Signature={SECRET}",
        f"az://container/prefix?sig={SECRET}",
        f"s3://bucket/prefix#{SECRET}",
        f"{SECRET}://a:b@c",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(typed):
    with pytest.raises(ConfigError) as refused:
        Address.parse(typed)
    assert SECRET not in str(refused.value)
    assert "AWS_SECRET_ACCESS_KEY" in str(refused.value)


@pytest.mark.parametrize(("typed", "said"), [("s3a://bucket/x", "did you mean 's3'"), ("s3:///x", "names no bucket")])
def test_what_is_no_address_is_refused_with_what_is(typed, said):
    with pytest.raises(ConfigError, match=said) as refused:
        Address.parse(typed)
    assert "s3://BUCKET/PREFIX" in str(refused.value)


FACTS = '{"kind": "onnx", "facts": {}}'


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b", "./a", "a//b", ".", "a\0b", ""])
def test_a_manifest_that_names_files_outside_its_object_is_none(path):
    sums = hashlib.sha256(FACTS.encode()).hexdigest()
    facts = FileRecord("artifact.json", len(FACTS), sums)
    good, bad = [facts, FileRecord("model.onnx", 1, sums)], [facts, FileRecord(path, 1, sums)]
    assert read_manifest(manifest(good, FACTS), tree_digest(good)) is not None
    assert read_manifest(manifest(bad, FACTS), tree_digest(bad)) is None
