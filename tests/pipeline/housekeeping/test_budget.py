"""housekeeping/budget.py: `keep`, after a run."""

import logging
import os

import pytest

from pipeline.errors import ConfigError, StageError
from pipeline.housekeeping import budget, eviction, pins
from pipeline.store import Store
from tests.pipeline.conftest import STORED
from tests.pipeline.housekeeping.conftest import digests, look, put


@pytest.mark.parametrize(
    ("keep", "variable", "limit"),
    [(None, None, None), (None, "", None), ("2GiB", "1GiB", 2 * 2**30), (None, "1GiB", 2**30)],
)
def test_a_setting_goes_before_the_environment(monkeypatch, keep, variable, limit):
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(budget.VARIABLE, variable)
    assert budget.of({"keep": keep}) == limit


@pytest.mark.parametrize("text", ["50GB", "0B", "-1GiB", "all"])
def test_what_is_no_size_is_refused_by_its_name(monkeypatch, text):
    monkeypatch.setenv(budget.VARIABLE, text)
    for keep, name in ((text, "keep"), (None, budget.VARIABLE)):
        with pytest.raises(ConfigError, match=f"^{name} is {text}"):
            budget.of({"keep": keep})


def test_a_store_is_within_its_budget_after_a_run_and_what_goes_on_is_built_again(dock):
    dock.run()
    with budget.after(dock.store, 1):
        pass
    assert digests(dock.store) == set()
    dock.ran()
    dock.run()
    assert set(dock.ran()) == {"load", "compile", "export", "tidy", "save"}  # nothing needs the record any more
    assert {"compile", "export"} <= set(STORED)
    dock.assert_sound()


def test_it_is_kept_after_a_failure_and_not_after_an_interruption(store):
    put(store, "one")
    with pytest.raises(KeyboardInterrupt), budget.after(store, 1):
        raise KeyboardInterrupt
    assert len(digests(store)) == 1
    with pytest.raises(StageError), budget.after(store, 1):
        raise StageError("no")
    assert digests(store) == set()


def test_pins_and_another_process_at_it_are_respected(store):
    pinned = put(store, "pinned")
    put(store, "free")
    pins.add(store.root, "mine", [pinned])
    other = eviction.lock(Store(store.root))
    assert other.try_acquire()
    budget.enforce(store, 1)
    assert len(digests(store)) == 2
    other.release()
    budget.enforce(store, 1)
    assert digests(store) == {pinned}


def test_what_cannot_be_done_is_said_and_fails_nothing(store, monkeypatch, caplog):
    put(store, "one")
    monkeypatch.setattr(Store, "staging", lambda *_: (_ for _ in ()).throw(ConfigError("read-only")))
    with caplog.at_level(logging.INFO):
        budget.enforce(store, 1)
    assert caplog.messages == ["keep=1B: nothing was removed: read-only"]


def test_an_index_that_lies_of_what_is_there_removes_nothing_else(store):
    one, two = put(store, "one", days=3), put(store, "two")
    for folder in (store.root / "objects").glob("*"):  # settled, so that the index keeps it
        os.utime(folder, (0, 0))
    look(store)
    for path in (store.root / "index" / str(os.geteuid())).glob("objects-*.json"):
        path.write_text(path.read_text().replace(one, "ab" * 32))
    known = look(store)
    assert {r.digest for r in known.results} == {two, "ab" * 32}
    done = eviction.remove(store, known, [r for r in known.results if r.digest != two])
    assert ([r.digest for r in done.gone], digests(store)) == (["ab" * 32], {one, two})
