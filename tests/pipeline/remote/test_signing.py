"""Whose entries count: this user's, and those of keys that are named. What anybody else put there is a miss."""

from __future__ import annotations

import base64
import json
import os
import stat

import pytest

from pipeline import trust
from pipeline.errors import ConfigError
from pipeline.planning import plan
from pipeline.remote import signing
from pipeline.remote.signing import NotTrusted, verified
from pipeline.store import Entry
from tests.pipeline.conftest import ALL, STORED, digests
from tests.pipeline.remote.conftest import Machine

KEY = "0a" * 32
ENTRY = Entry(KEY, {"stage": "export"}, "0b" * 32, "onnx", {"says": "x"}, 0.5)


@pytest.fixture
def one(server, signer, tmp_path):
    return Machine(tmp_path / "one", signer)


@pytest.fixture
def stranger(server, other_signer, tmp_path):
    """A machine of somebody else's, who may write to the bucket."""
    return Machine(tmp_path / "stranger", other_signer)


def changed(envelope, **fields):
    """An envelope whose payload says something else, under the signature of what it said."""
    read = json.loads(envelope)
    payload = {**json.loads(base64.b64decode(read["payload"])), **fields}
    return json.dumps({**read, "payload": base64.b64encode(json.dumps(payload).encode()).decode()}).encode()


def test_an_entry_is_read_as_it_was_signed(signer):
    assert verified(signer.sign(ENTRY), KEY, {signer.id}) == ENTRY


@pytest.mark.parametrize(
    ("forge", "whose"),
    [
        (lambda e: changed(e, digest="0c" * 32), signing.BROKEN),
        (lambda e: changed(e, notes={"says": "agrees"}), signing.BROKEN),
        (lambda e: changed(e, key_document={"stage": "compile"}), signing.BROKEN),
        (lambda e: json.dumps({**json.loads(e), "signatures": []}).encode(), signing.UNSIGNED),
        (lambda e: json.dumps({**json.loads(e), "payloadType": "text/plain"}).encode(), signing.UNSIGNED),
        (lambda e: base64.b64decode(json.loads(e)["payload"]), signing.UNSIGNED),
        (lambda e: e[:-1], signing.UNSIGNED),
        (lambda e: b"[" * 99_999, signing.UNSIGNED),
        (lambda e: b"", signing.UNSIGNED),
        (lambda e: e.replace(b'"keyid": "', b'"keyid": "../'), signing.UNSIGNED),
    ],
)
def test_a_forged_entry_counts_for_nothing(signer, forge, whose):
    with pytest.raises(NotTrusted) as refused:
        verified(forge(signer.sign(ENTRY).encode()), KEY, {signer.id})
    assert refused.value.whose == whose


def test_an_entry_of_another_key_is_a_miss_though_it_is_signed(signer):
    assert verified(signer.sign(ENTRY), "0d" * 32, {signer.id}) is None


def test_an_entry_of_a_schema_that_nobody_knows_is_a_miss(signer, monkeypatch):
    monkeypatch.setattr(signing, "asdict", lambda entry: {"key": KEY, "schema": 9})
    assert verified(signer.sign(ENTRY), KEY, {signer.id}) is None


def test_results_of_a_stranger_are_misses_said_once_with_what_to_type(one, stranger, other_signer, caplog):
    stranger.run()
    one.run()
    assert one.ran() == ALL
    (said,) = caplog.messages
    assert f"4 of key:{other_signer.id}" in said
    assert f"'trust=[key:{other_signer.id}]'" in said


def test_a_plan_says_of_each_whose_result_is_passed_over(one, stranger, other_signer, caplog):
    stranger.run()
    steps = plan.make(one.nodes(), one.store, one.world, damaged=set(), explain=True)
    why = {s.name: s.why for s in steps}
    assert why["record"] == f"there is one in the remote of key:{other_signer.id}, who is not trusted"
    assert len(caplog.messages) == 1


def test_results_of_who_is_named_are_hits(server, stranger, signer, other_signer, tmp_path):
    first = stranger.run()
    machine = Machine(tmp_path / "two", signer, trust=(f"key:{other_signer.id}",))
    assert digests(machine.run()) == digests(first)
    assert machine.ran() == ["save"]


def test_who_is_not_named_any_more_is_a_miss_at_once_though_his_entries_were_read(
    stranger, signer, other_signer, tmp_path
):
    stranger.run()
    Machine(tmp_path / "two", signer, trust=(f"key:{other_signer.id}",)).run()
    without = Machine(tmp_path / "two", signer)
    without.ran()
    without.run()
    assert without.ran() == ALL


def test_mine_lies_beside_a_strangers_and_each_finds_its_own(one, stranger, server, signer, other_signer, tmp_path):
    stranger.run()
    one.run()
    assert len(server.files("actions")) == 2 * len(STORED)
    for key in (signer, other_signer):
        machine = Machine(tmp_path / key.id[:4], key)
        machine.run()
        assert machine.ran() == ["save"]


def test_an_unsigned_entry_put_there_by_hand_is_a_miss(one, server, signer, tmp_path, caplog):
    one.run()
    for path in server.files("actions"):
        path.write_bytes(base64.b64decode(json.loads(path.read_bytes())["payload"]))
    two = Machine(tmp_path / "two", signer)
    two.run()
    assert two.ran() == ALL
    assert "4 unsigned" in caplog.messages[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's files are made by root alone")
def test_what_another_user_of_this_machine_built_is_used_and_not_signed_by_me(server, signer, tmp_path):
    Machine(tmp_path / "one", signer, write=False).run()
    for path in (tmp_path / "one" / "store").rglob("*"):
        os.chown(path, 12345, -1)
    machine = Machine(tmp_path / "one", signer, trust=("user:12345",))
    machine.ran()
    machine.run()
    assert machine.ran() == ["save"]
    assert server.files() == []


def test_a_key_is_made_once_for_this_user_alone_and_printed_as_it_is_typed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("sys.argv", ["trust"])
    said = []
    assert [trust.main(said.append), trust.main(said.append)] == [0, 0]
    assert said[0] == said[1]
    assert said[0] == f"key:{signing.own().id}"
    path = tmp_path / "config" / "drydock" / "signing_key.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert capsys.readouterr().err.count(str(path)) == 1


@pytest.mark.parametrize(
    ("mode", "content", "said"),
    [(0o644, None, "chmod 600"), (0o600, b"", "holds no ed25519 private key"), (0o600, b"x" * 99, "holds no ed25519")],
)
def test_a_key_that_others_can_read_or_that_is_none_is_refused(signer, mode, content, said):
    path = signing.key_file()
    path.write_bytes(path.read_bytes() if content is None else content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=said):
        signing.own()
