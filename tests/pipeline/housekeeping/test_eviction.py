"""housekeeping/eviction.py: the least recently used go first; what is pinned, in use or another's stays."""

import os
import signal

import pytest

from pipeline.artifact import Artifact
from pipeline.errors import ConfigError
from pipeline.housekeeping import eviction
from pipeline.store import State, Store, use
from pipeline.store.store import FACTS
from tests.pipeline.conftest import ONNX, child
from tests.pipeline.housekeeping.conftest import digests, entries, look, put


def removed(store, chosen=None, **how):
    known = look(store)
    return eviction.remove(store, known, eviction.removable(known.results, ()) if chosen is None else chosen, **how)


def test_the_least_recently_used_go_until_a_budget_holds_and_their_entries_stay(store):
    old, new, oldest = put(store, "old", days=2), put(store, "new"), put(store, "oldest", days=9)
    sizes = {r.digest: r.size for r in look(store).results}
    done = removed(store, budget=sizes[old] + sizes[new])
    assert [r.digest for r in done.results] == [oldest]
    assert (done.freed, digests(store), entries(store)) == (sizes[oldest], {old, new}, 3)
    assert [r.digest for r in removed(store, budget=1).results] == [old, new]


def test_a_run_goes_on_with_what_comes_after_a_result_that_was_evicted(dock):
    dock.run()
    exported = dock.object_of("export").name
    known = look(dock.store)
    eviction.remove(dock.store, known, [r for r in known.results if r.digest == exported])
    dock.ran()
    dock.run()
    assert dock.ran() == ["save"]
    dock.change("tidy", text="opset ")
    dock.run()
    assert dock.ran() == ["load", "export", "tidy", "compile", "save"]
    dock.assert_sound()


def test_what_a_run_uses_stays(store):
    used, free = put(store, "used", days=9), put(store, "free")
    with store.keeping():
        store.state(used)
        done = removed(Store(store.root))
        assert ([r.digest for r in done.in_use], digests(store)) == ([used], {used})
    assert [r.digest for r in done.results] == [free]
    assert [r.digest for r in removed(store).results] == [used]


def test_what_is_pinned_or_another_users_is_not_chosen(store):
    mine, pinned = put(store, "mine"), put(store, "pinned")
    known = look(store)
    theirs = known.results[0]._replace(name="ab" * 32, owner=os.geteuid() + 1)
    chosen = eviction.removable([*known.results, theirs], {pinned})
    assert [r.digest for r in chosen] == [mine]
    assert eviction.remove(store, known, [theirs]).gone == [theirs]


def test_a_file_that_results_share_frees_its_bytes_with_the_last_and_is_not_hashed_again(store, monkeypatch):
    first = put(store, "weights", size=100_000, days=2)
    with store.staging([first]) as folder:
        os.link(store.objects.folder(first) / ONNX.file, folder / ONNX.file)
        second = store.publish(Artifact(ONNX, folder, facts={"other": 1}), [first]).digest
    known = look(store)
    assert known.size(known.results) < 110_000
    assert eviction.freed(known, known.results) > 100_000
    chosen = [r for r in known.results if r.digest == first]
    assert eviction.freed(known, chosen) < 1000
    assert eviction.remove(store, known, chosen).freed < 1000
    monkeypatch.setattr(type(store.objects), "_matches", lambda *_: pytest.fail("hashed"))
    assert store.state(second) is State.PRESENT
    monkeypatch.undo()
    known = look(store)
    assert eviction.remove(store, known, known.results).freed > 100_000


def test_entries_go_with_the_results_that_they_lead_to_and_not_before(store):
    put(store, "one")
    known = look(store)
    with store.keeping():
        store.state(known.results[0].digest)
        assert eviction.remove(Store(store.root), known, known.results, entries=known.entries).entries == 0
    assert entries(store) == 1
    assert eviction.remove(store, known, known.results, entries=known.entries).entries == 1
    assert (entries(store), list((store.root / use.PLACE).iterdir())) == (0, [])


@pytest.mark.parametrize("place", ["withdraw", "rename", "rmtree"])
def test_a_kill_in_the_midst_leaves_each_result_whole_or_gone_and_the_next_run_clears_away(store, monkeypatch, place):
    all_of_them = {put(store, str(n)) for n in range(4)}

    def die():
        def kill(*_, **__):
            os.kill(os.getpid(), signal.SIGKILL)

        if place == "rmtree":
            monkeypatch.setattr("pipeline.store.store.remove_tree", kill)
        elif place == "rename":
            monkeypatch.setattr("pathlib.Path.rename", kill)
        else:
            real, count = type(store.objects).withdraw, []
            monkeypatch.setattr(
                type(store.objects), place, lambda *a: (count.append(1), kill() if len(count) > 2 else real(*a))
            )
        removed(store)

    process = child(die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    again = Store(store.root)
    with again.in_use():
        for digest in all_of_them:
            assert again.state(digest, thorough=True) is not State.DAMAGED
            assert (again.state(digest) is State.PRESENT) is (digest in digests(store))
    assert list((store.root / "staging").iterdir()) == list((store.root / "quarantine").glob("*")) == []


def test_a_damaged_result_without_its_facts_goes_too(store):
    digest = put(store, "torn")
    (store.objects.folder(digest) / FACTS).unlink()
    assert [r.digest for r in removed(store).results] == [digest]


def test_a_link_in_the_place_of_a_result_is_not_followed(store, tmp_path):
    put(store, "one")
    known = look(store)
    folder = known.folder(known.results[0])
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    done = eviction.remove(store, known, known.results)
    assert ([why for _, why in done.denied], (tmp_path / "elsewhere" / FACTS).is_file()) == (
        ["it is another user's"],
        True,
    )


def test_time_ends_it_and_the_next_goes_on(store):
    put(store, "one"), put(store, "two")
    done = removed(store, seconds=-1)
    assert (done.out_of_time, done.results, len(digests(store))) == (True, [], 2)


def test_a_store_without_locks_is_refused(store, monkeypatch):
    eviction.refuse_without_locks(store)

    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(ConfigError, match="has no locks, so it is not known which results runs use"):
        eviction.refuse_without_locks(store)
