"""`python -m pipeline.store`: what each command prints, says and ends with."""

import json
import os
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest
from command_line import run_light

from pipeline.housekeeping import store_command  # noqa: F401 (before root's rights are gone)
from pipeline.store import State, Store, use
from pipeline.store.store import FACTS
from tests.pipeline.conftest import flip
from tests.pipeline.housekeeping.conftest import digests, entries, put
from tests.pipeline.store.test_owners import ANA, BOB, as_user, two_users


@pytest.fixture
def run(store, tmp_path):
    def run(*args, folder=store.root):
        env = {**os.environ, "DRYDOCK_STORE": str(folder)}
        done = run_light("pipeline.store", [*map(str, args)], tmp_path, env)
        assert "Traceback" not in done.stderr
        return done

    return run


def test_list_and_size_give_tables_to_people_and_data_to_scripts(store, run):
    old = put(store, "old", days=40, size=5000)
    new = put(store, "new", stage="compile_openvino")
    store.name([new], "resnet50", "openvino")
    done = run("list")
    assert done.stdout.splitlines()[1].split() == ["5.0", "KiB", "40", "d", "export", "old", old[:12]]
    assert f"resnet50 → openvino  {new[:12]}" in done.stdout.splitlines()[2]
    assert done.stderr.startswith("2 results, ")
    for args, found in [
        (["--stage", "compile_openvino"], [new]),
        (["--stage", "compile"], [new]),
        (["--model", "res*"], [new]),
        (["--model", "old"], [old]),
        (["--older", "30d"], [old]),
        (["--larger", "4KiB"], [old]),
        (["--by", "size", "--no-index"], [new, old]),
    ]:
        assert [r["digest"] for r in json.loads(run("list", "--json", *args).stdout)["results"]] == found, args
    size = json.loads(run("size", "--json").stdout)
    on_disk = sum(p.stat().st_size for p in (store.root / "objects").glob("*/*/*"))
    assert (size["results"], size["entries"]["count"]) == ({"count": 2, "bytes": on_disk}, 2)


def test_a_stage_of_that_very_name_is_meant_alone(store, run):
    longer = put(store, "longer", stage="check_tables")
    assert longer[:12] in run("list", "--stage", "check").stdout
    exact = put(store, "exact", stage="check")
    done = run("list", "--stage", "check")
    assert exact[:12] in done.stdout
    assert longer[:12] not in done.stdout


def test_remove_says_what_would_go_and_then_removes_it_and_its_entries(store, run):
    old, new = put(store, "old", days=40), put(store, "new")
    would = run("remove", "--older", "30d", "--dry-run")
    assert old[:12] in would.stdout
    assert "would remove 1 results, 1 entries" in would.stderr
    assert digests(store) == {old, new}
    assert run("remove", "--older", "30d").stdout.startswith("removed 1 results and 1 entries; 1.1 KiB freed")
    assert (digests(store), entries(store)) == ({new}, 1)
    assert json.loads(run("remove", new[:8], "--json").stdout)["removed"] == [new]


def test_remove_without_a_word_of_what_removes_nothing(store, run):
    put(store, "one")
    done = run("remove")
    assert (done.returncode, len(digests(store))) == (2, 1)
    assert "does not say what to remove" in done.stderr


def test_a_budget_leaves_entries_and_what_is_in_use(store, run):
    used, other = put(store, "used", days=3), put(store, "other", days=2)
    with store.keeping():
        store.state(used)
        done = run("remove", "--budget", "1B")
    assert (done.returncode, digests(store), entries(store)) == (0, {used}, 2)
    assert "1 results stay: a run uses them" in done.stderr
    assert other not in digests(store)


def test_pins_keep_a_run_and_a_result_until_they_are_taken_back(store, run, tmp_path):
    one, two, free = put(store, "one"), put(store, "two"), put(store, "free")
    folder = run_of(tmp_path / "runs" / "1", [one])
    assert run("pin", folder, two[:8]).returncode == 0
    assert run("pin").stdout.splitlines()[0].startswith(f"{folder}  1 results, 1.1 KiB, since 20")
    assert "2 results stay: pinned" in run("remove", "--older", "0s").stderr
    assert digests(store) == {one, two}
    assert free not in digests(store)
    assert run("unpin", folder, two[:8]).stdout == "nothing is pinned\n"
    assert run("unpin", two[:8]).returncode == 2
    run("remove", "--older", "0s")
    assert digests(store) == set()


def test_what_no_kept_run_uses_goes(store, run, tmp_path):
    used, unused = put(store, "used"), put(store, "unused")
    folder = run_of(tmp_path / "runs" / "day" / "1", [used])
    assert run("remove", "--unused-by", "runs").returncode == 0
    assert digests(store) == {used}
    assert unused not in digests(store)
    (folder / "run.json").write_text("{")
    done = run("remove", "--unused-by", "runs")
    assert (done.returncode, digests(store)) == (2, {used})
    assert "not known what that run uses" in done.stderr
    assert run("remove", "--unused-by", tmp_path / "store").returncode == 2
    assert digests(store) == {used}


def run_of(folder, digests):
    folder.mkdir(parents=True)
    run = dict.fromkeys(("status", "started", "folder", "drydock"), "x")
    run |= {n: [] for n in ("overrides", "command")} | {n: {} for n in ("choices", "config", "machine", "versions")}
    (folder / "run.json").write_text(
        json.dumps({**run, "stages": [{"name": d[:6], "how": "hit", "key": None, "digest": d} for d in digests]})
    )
    return folder


def test_verify_sets_damage_aside_says_so_and_ends_with_5(store, run):
    good, bad = put(store, "good"), put(store, "bad")
    assert (run("verify").returncode, run("verify").stdout.splitlines()[-1]) == (
        0,
        "every result is as it was published",
    )
    flip(store.objects.folder(bad) / "model.onnx")
    done = run("verify")
    assert (done.returncode, digests(store)) == (5, {good})
    assert f"damaged: {bad}: set aside in quarantine/" in done.stdout
    assert run("verify").returncode == 0
    assert run("remove", "--quarantine").stdout.startswith("removed 0 results and 0 entries, 1 from quarantine")
    assert list((store.root / "quarantine").iterdir()) == []


def test_verify_repairs_what_spares_no_work_and_keeps_what_does(store, run):
    first = put(store, "first")
    second = put(store, "second", stage="compile", inputs={"model": first})
    for digest in (first, second):
        shutil.rmtree(store.objects.folder(digest))
    torn = store.root / "actions" / "export" / f"{'ab' * 32}.json"
    torn.write_text("{")
    manifest = store.root / "objects" / first[:2] / f"{first}.json"
    os.utime(manifest, (0, 0))
    done = run("verify")
    assert (done.returncode, entries(store)) == (5, 3)
    assert "no entry: export/abab" in done.stdout
    assert run("verify", "--repair").stdout.count("repaired: ") == 4
    assert (entries(store), manifest.exists()) == (0, False)
    third = put(store, "third", stage="compile", inputs={"model": (gone := put(store, "gone"))})
    shutil.rmtree(store.objects.folder(gone))
    assert "1 entries lead to results that were removed" in run("verify", "--repair").stdout
    assert (entries(store), digests(store)) == (2, {third})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["list", "--stage", "exprt"], "did you mean 'export'?"),
        (["list", "--older", "3x"], "3x is no age"),
        (["remove", "--budget", "50GB"], "50GB is no size"),
        (["remove", "abc"], "the first 6 digits or more"),
        (["pin", "0123456789"], "is the digest of no result there"),
        (["export", "nowhere", "b.tar"], "holds no run.json of ours"),
        (["import", "nowhere.tar"], "cannot be read: No such file"),
        (["move", "{store}/below"], "is in the store"),
        (["move", "{full}"], "is no store, and not empty"),
        (["list", "--store", "{full}"], "is no store: there is no format.json in it"),
        (["list", "--store", "{full}/none"], "is no store"),
        ([], "required: COMMAND"),
    ],
)
def test_a_slip_is_exit_code_2_and_a_way_on(store, run, tmp_path, args, words):
    put(store, "one")
    (full := tmp_path / "full").mkdir()
    (full / "file").write_text("")
    done = run(*(a.format(store=store.root, full=full) for a in args))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(digests(store)) == 1


def test_a_store_of_another_format_is_not_touched(store, run):
    put(store, "one")
    (store.root / "format.json").write_text('{"format": 9}')
    for args in (["list"], ["size"], ["verify"], ["remove", "--older", "0s"], ["pin"], ["import", "x"]):
        assert run(*args).returncode == 2, args
    assert len(digests(store)) == 1


def test_a_store_behind_a_link_is_the_same_store(store, run, tmp_path):
    digest = put(store, "one")
    (tmp_path / "link").symlink_to(store.root)
    assert digest[:12] in run("list", folder=tmp_path / "link").stdout
    assert run("move", tmp_path / "link" / "below", folder=tmp_path / "link").returncode == 2
    assert run("remove", digest[:8], folder=tmp_path / "link").stdout.startswith("removed 1 results")
    assert digests(store) == set()


def test_damage_of_every_kind_ends_no_command(store, run):
    put(store, "fine")
    for n, spoil in enumerate(
        [shutil.rmtree, lambda p: (shutil.rmtree(p), p.write_text("x")), lambda p: (p / FACTS).unlink()]
    ):
        spoil(store.objects.folder(put(store, f"spoilt {n}")))
    (store.root / "objects" / "zz").write_text("no folder")
    (store.root / "actions" / "export" / f"{'cd' * 32}.json").mkdir()
    (store.root / use.PLACE / ("ef" * 32)).mkdir()
    index = store.root / "index" / str(os.geteuid())
    run("list")
    time.sleep(0.01)
    for path in index.glob("*.json"):
        path.write_text(path.read_text().replace("[", "{").replace("]", "}") if n % 2 else '{"of": 1, "rows": 7}')
    for args, code in [(["list"], 0), (["size"], 0), (["verify"], 5), (["remove", "--older", "0s"], 0), (["list"], 0)]:
        done = run(*args)
        assert done.returncode == code, (args, done.stderr)
    assert Store(store.root).state(put(store, "fine")) is State.PRESENT


@two_users
def test_only_ones_own_go_from_a_shared_store_and_the_rest_is_counted_by_whose_it_is(home):
    shared = home / "store"

    def as_one(uid, act):
        return as_user(uid, lambda: (os.chdir(home / str(uid)), act())[1], umask=0o002)

    theirs = as_one(ANA, lambda: put(Store(shared), "ana"))
    mine = as_one(BOB, lambda: put(Store(shared), "bob"))

    def command(*args):
        done = run_light("pipeline.store", args, home / str(BOB), {**os.environ, "DRYDOCK_STORE": str(shared)})
        return done.returncode, done.stdout, done.stderr

    code, out, err = as_one(BOB, lambda: command("remove", "--older", "0s"))
    assert (code, digests(Store(shared))) == (0, {theirs}), err
    assert f"1 results stay: of {ANA}, who alone may remove them" in err
    assert mine not in digests(Store(shared))
    assert f"of {ANA}" in as_one(BOB, lambda: command("list"))[1]
    code, out, _ = as_one(BOB, lambda: command("verify"))
    assert (code, out.splitlines()[0].split(",")[0]) == (0, "1 results hashed")
    assert as_one(BOB, lambda: command("move", str(home / str(BOB) / "new")))[0] == 0
    assert digests(Store(shared)) == {theirs}


@two_users
def test_a_store_that_this_user_may_not_write_is_read_and_everything_else_is_exit_code_2(home):
    shared = home / "store"
    digest = put(Store(shared), "root's")
    for path in (shared, *(p for p in shared.rglob("*") if p.is_dir())):
        path.chmod(0o755)

    def command(*args):
        env = {**os.environ, "DRYDOCK_STORE": str(shared)}
        done = run_light("pipeline.store", args, home / str(ANA), env)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def codes():
        os.chdir(home / str(ANA))
        return [
            (args[0], *command(*args)[:1])
            for args in (
                ["list"],
                ["size"],
                ["verify"],
                ["pin"],
                ["pin", digest[:8]],
                ["remove", "--older", "0s"],
                ["move", "x"],
            )
        ]

    assert as_user(ANA, codes) == [
        ("list", 0), ("size", 0), ("verify", 0), ("pin", 0), ("pin", 2), ("remove", 2), ("move", 2),
    ]  # fmt: skip
    assert digests(Store(shared)) == {digest}
    (shared / "objects").chmod(0o700)
    code, out, err = as_user(ANA, lambda: (os.chdir(home / str(ANA)), command("list"))[1])
    assert (code, out) == (2, "")
    assert "cannot be read: Permission denied at" in err


def test_every_command_of_the_page_works(store, tmp_path, monkeypatch):
    first, second = put(store, "one", days=40, stage="simplify"), put(store, "two")
    for name in ("09-13-22", "10-01-05"):
        run_of(tmp_path / "runs" / "2026-11-30" / f"{name}-resnet50-openvino", [second])
    page = (Path(__file__).parents[3] / "docs" / "store.md").read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(lines) > 20
    env = {**os.environ, "DRYDOCK_STORE": str(store.root)}
    for line in lines:
        _, _, module, *args = shlex.split(line.replace("/data/", f"{tmp_path}/"))
        done = run_light(module, args, tmp_path, env)
        assert done.returncode == (2 if "--stage" in args and "remove" in args else 0), (line, done.stderr)
    assert digests(Store(tmp_path / "another")) == digests(Store(tmp_path / "drydock")) == {second}
    assert first not in digests(Store(tmp_path / "drydock"))
