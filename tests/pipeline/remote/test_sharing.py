"""Machines share what they build through a bucket, and a result that was found there is as good as a local one."""

from __future__ import annotations

import pytest

from pipeline.store import State
from tests.pipeline.conftest import ALL, STORED, digests, how, without_record
from tests.pipeline.remote.conftest import Machine


@pytest.fixture
def machines(server, signer, tmp_path):
    return [Machine(tmp_path / name, signer=signer) for name in ("one", "two")]


def test_a_second_machine_builds_nothing_and_delivers_the_same(machines):
    one, two = machines
    first = one.run()
    second = two.run()
    assert one.ran() == ALL
    assert two.ran() == ["save"]
    assert digests(second) == digests(first)
    assert {name for name, what in how(second).items() if what == "hit"} == {"load", *STORED}
    assert without_record(second.delivered) == without_record(first.delivered)
    two.assert_sound()


def test_only_what_is_delivered_or_built_on_is_downloaded(machines, server):
    one, two = machines
    one.run()
    two.run()
    assert [folder.name for folder in (two.home / "store" / "objects").glob("*/*/")] == [one.object_of("compile").name]
    two.change("compile", text="other")
    two.run()
    assert two.ran() == ["save", "compile", "save"]
    assert two.store.state(one.object_of("tidy").name) is State.PRESENT
    assert not two.store.objects.folder(one.object_of("export").name).exists()
