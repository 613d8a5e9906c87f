"""housekeeping/bundle.py: a run's results in one file, which is believed nothing."""

import io
import json
import tarfile

import pytest

from pipeline.errors import CheckFailed, ConfigError
from pipeline.housekeeping import bundle
from pipeline.store import State, Store
from pipeline.store.files import FileRecord, sha256, tree_digest
from tests.pipeline.conftest import how
from tests.pipeline.housekeeping.conftest import digests, entries, put

RUN = {
    **dict.fromkeys(("status", "started", "folder", "drydock"), "x"),
    **dict.fromkeys(("overrides", "command"), ()),
    **{n: {} for n in ("choices", "config", "machine", "versions")},
}


@pytest.fixture
def run(tmp_path):
    """Writes a run's folder with these stages; the folder and the run.json."""

    def run(stages):
        folder = tmp_path / "run"
        folder.mkdir()
        content = {**RUN, "stages": stages}
        (folder / "run.json").write_text(json.dumps(content))
        return folder, content

    return run


def test_what_is_imported_is_a_hit_elsewhere(dock, run, tmp_path):
    done = dock.run()
    file = tmp_path / "b.tar"
    stages = [{"key": o.key, "digest": o.digest} for o in done.outcomes]
    bundle.write(dock.store, *run(stages), file)
    assert bundle.write(
        dock.store, *(tmp_path / "run", json.loads((tmp_path / "run/run.json").read_text())), tmp_path / "c.tar"
    )
    assert file.read_bytes() == (tmp_path / "c.tar").read_bytes()
    before, dock.home, dock.output = dock.home, tmp_path / "elsewhere", tmp_path / "elsewhere" / "out"
    (tmp_path / "elsewhere").mkdir()
    imported = bundle.read(dock.store, file)
    assert (len(imported.results), imported.present) == (len(digests(Store(before / "store"))), 0)
    dock.ran()
    again = dock.run()
    assert dock.ran() == ["save"]
    assert {n: h for n, h in how(again).items() if n != "load"} == {
        **dict.fromkeys(("record", "export", "tidy", "compile"), "hit"),
        "save": "delivered",
    }
    assert bundle.read(dock.store, file).results == []


def test_a_run_whose_results_are_gone_cannot_be_exported(store, run, tmp_path):
    with pytest.raises(ConfigError, match="1 of its 1 results are no longer in the store"):
        bundle.write(store, *run([{"key": "k", "digest": "ab" * 32}]), tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


@pytest.fixture
def exported(store, run, tmp_path):
    """The members of an export of one result, by name."""
    digest = put(store, "net")
    (entry,) = (store.root / "actions" / "export").iterdir()
    bundle.write(store, *run([{"key": entry.stem, "digest": digest}]), tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def written(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            member.name, member.size = name, len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def special(kind, target=""):
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, target
    return member


def forged(members, **changes):
    """The members with some of them changed: by the end of the name before a dash, what is there in its place."""
    found = []
    for name, content in members.items():
        change = next((c for n, c in changes.items() if name.replace(".", "_").endswith(n)), None)
        found += [(name, content)] if change is None else change(name, content)
    return found


def in_objects(path):
    """The same member under another path below its object."""
    return lambda name, content: [("/".join([*name.split("/")[:2], path]), content)]


FORGERIES = {
    "a path that leads out": {"model_onnx": in_objects("../../../evil")},
    "an absolute path": {"model_onnx": lambda n, c: [("/tmp/evil", c)]},
    "a path with an empty part": {"model_onnx": in_objects("a//b")},
    "a backslash": {"model_onnx": in_objects("..\\evil")},
    "a symbolic link": {"model_onnx": lambda n, c: [(n, special(tarfile.SYMTYPE, "/etc/passwd"))]},
    "a hard link": {"model_onnx": lambda n, c: [(n, special(tarfile.LNKTYPE, "run.json"))]},
    "a device": {"model_onnx": lambda n, c: [(n, special(tarfile.CHRTYPE))]},
    "a named pipe": {"model_onnx": lambda n, c: [(n, special(tarfile.FIFOTYPE))]},
    "a folder": {"model_onnx": lambda n, c: [(n, special(tarfile.DIRTYPE))]},
    "a file twice": {"model_onnx": lambda n, c: [(n, c), (n, c)]},
    "a file that belongs to nothing": {"run_json": lambda n, c: [(n, c), ("other", b"x")]},
    "no head": {"bundle_json": lambda n, c: []},
    "a head of another format": {"bundle_json": lambda n, c: [(n, c.replace(b'"bundle": 1', b'"bundle": 2'))]},
    "a head that names no result": {
        "bundle_json": lambda n, c: [(n, b'{"bundle": 1, "digest": "sha256", "objects": []}')]
    },
    "a head that is no JSON": {"bundle_json": lambda n, c: [(n, b"[" * 100_000)]},
    "an early end": {"model_onnx": lambda n, c: [], "artifact_json": lambda n, c: []},
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_bundle_is_refused_and_leaves_nothing(exported, tmp_path, how):
    file = written(tmp_path / "forged.tar", forged(exported, **FORGERIES[how]))
    other = Store(tmp_path / "other")
    with pytest.raises(ConfigError, match="is no bundle of ours"):
        bundle.read(other, file)
    assert (digests(other), entries(other), list((other.root / "staging").iterdir())) == (set(), 0, [])
    assert not list(tmp_path.rglob("evil"))


def test_other_content_than_its_name_says_is_exit_code_5(exported, tmp_path):
    file = written(tmp_path / "f.tar", forged(exported, model_onnx=lambda n, c: [(n, c[:-1] + b"!")]))
    with pytest.raises(CheckFailed, match="is not what its name says"):
        bundle.read(Store(tmp_path / "other"), file)
    assert digests(Store(tmp_path / "other")) == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda e: {**e, "key_document": {**e["key_document"], "settings": {"text": "another"}}},
        lambda e: {**e, "key": "ab" * 32},
        lambda e: {**e, "digest": "../../evil"},
        lambda e: {**e, "digest": "cd" * 32},
        lambda e: [e],
        lambda e: {**e, "key_document": []},
    ],
)
def test_an_entry_that_says_other_than_its_key_is_refused(exported, tmp_path, change):
    name = next(n for n in exported if n.startswith("entries/"))
    members = {**exported, name: json.dumps(change(json.loads(exported[name]))).encode()}
    other = Store(tmp_path / "other")
    with pytest.raises(ConfigError, match="is no bundle of ours"):
        bundle.read(other, written(tmp_path / "f.tar", members.items()))
    assert entries(other) == 0


def test_a_result_that_does_not_say_what_it_is_is_refused(exported, tmp_path):
    content = b'{"kind": 7}'
    (tmp_path / "artifact.json").write_bytes(content)
    digest = tree_digest([FileRecord("artifact.json", len(content), sha256(tmp_path / "artifact.json"))])
    head = {**bundle.FORMAT, "objects": [digest]}
    members = [
        ("bundle.json", json.dumps(head).encode()),
        ("run.json", b"{}"),
        (f"objects/{digest}/artifact.json", content),
    ]
    with pytest.raises(ConfigError, match="does not say of what kind it is"):
        bundle.read(Store(tmp_path / "other"), written(tmp_path / "f.tar", members))


def test_what_was_cut_short_and_is_whole_next_time_is_taken_in(exported, store, tmp_path):
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 3])
    other = Store(tmp_path / "other")
    with pytest.raises(ConfigError):
        bundle.read(other, tmp_path / "cut.tar")
    assert bundle.read(other, tmp_path / "b.tar").entries == 1
    assert [other.state(d, thorough=True) for d in digests(store)] == [State.PRESENT]


def test_what_is_compressed_or_no_tar_file_is_refused(store, tmp_path):
    with tarfile.open(tmp_path / "c.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("bundle.json"))
    (tmp_path / "text").write_text("x" * 1000)
    for name in ("c.tar", "text"):
        with pytest.raises(ConfigError, match="is no bundle of ours"):
            bundle.read(store, tmp_path / name)
