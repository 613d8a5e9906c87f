"""The machine's answers: digests of files that are never stale, and digests of code."""

import errno
import hashlib
import os
import sys
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.machine import world
from pipeline.machine.world import ThisMachine, code_identity
from tests.pipeline.conftest import raising, restore_mtime

LONG_AGO = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def machine(tmp_path):
    return ThisMachine(tmp_path / "facts", may_fetch=True)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old!")
    os.utime(path, LONG_AGO)
    return path


@pytest.fixture
def settled(monkeypatch):
    """A file counts as settled at once, so that a test need not wait until it is."""
    monkeypatch.setattr(world, "SETTLED_SECONDS", -1)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_the_processor_and_its_cores_are_this_machines(machine):
    assert set(machine.processor()) == {"architecture", "name", "instructions"}
    assert machine.cores() == len(os.sched_getaffinity(0))


def test_a_digest_is_that_of_the_content_and_is_remembered(machine, weights, settled, monkeypatch):
    assert machine.digest(weights) == sha256(b"old!")
    monkeypatch.setattr(world, "sha256", raising(AssertionError("hashed again")))
    assert machine.digest(weights) == sha256(b"old!")


@pytest.mark.usefixtures("settled")
def test_a_memory_is_shared_by_runs_and_by_names_of_one_file(machine, weights, monkeypatch):
    machine.digest(weights)
    monkeypatch.setattr(world, "sha256", raising(AssertionError("hashed again")))
    another = ThisMachine(weights.parent / "facts", may_fetch=False)
    (weights.parent / "link.pt").symlink_to(weights)
    assert another.digest(weights.parent / "link.pt") == sha256(b"old!")


@pytest.mark.usefixtures("settled")
def test_other_content_of_the_same_size_and_time_is_noticed(machine, weights):
    machine.digest(weights)
    before = weights.stat()
    weights.write_bytes(b"new!")
    restore_mtime(weights, before)
    assert machine.digest(weights) == sha256(b"new!")


@pytest.mark.usefixtures("settled")
def test_a_file_replaced_by_another_of_the_same_size_and_time_is_noticed(machine, weights):
    machine.digest(weights)
    (weights.parent / "new").write_bytes(b"new!")
    os.utime(weights.parent / "new", LONG_AGO)
    (weights.parent / "new").replace(weights)
    assert machine.digest(weights) == sha256(b"new!")


def test_a_file_written_just_now_is_not_trusted_to_stay(machine, weights, monkeypatch):
    os.utime(weights)
    machine.digest(weights)
    monkeypatch.setattr(world, "sha256", lambda path: "hashed again")
    assert machine.digest(weights) == "hashed again"


def test_a_file_copied_just_now_with_its_old_time_is_not_trusted_to_stay(machine, weights, monkeypatch):
    # Copied twice within one tick of the file system's clock, it can be told apart by nothing but its content.
    machine.digest(weights)
    monkeypatch.setattr(world, "sha256", lambda path: "hashed again")
    assert machine.digest(weights) == "hashed again"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("harm", ["", "{", "[]", "{}", '{"stamp": 1}'])
def test_a_memory_that_is_torn_is_made_again(machine, weights, harm):
    machine.digest(weights)
    (memo,) = (weights.parent / "facts" / "digest").iterdir()
    memo.write_text(harm)
    assert machine.digest(weights) == sha256(b"old!")


@pytest.mark.usefixtures("settled")
def test_a_memory_without_a_digest_is_made_again(machine, weights):
    machine.digest(weights)
    (memo,) = (weights.parent / "facts" / "digest").iterdir()
    memo.write_text(memo.read_text().replace('"sha256"', '"sha512"'))
    assert machine.digest(weights) == sha256(b"old!")


@pytest.mark.usefixtures("settled")
def test_a_memory_that_cannot_be_kept_costs_time_and_nothing_else(machine, weights, monkeypatch):
    monkeypatch.setattr("pipeline.store.root.write_json", raising(OSError(errno.ENOSPC, "full")))
    assert machine.digest(weights) == sha256(b"old!")


def test_a_file_that_is_not_there_has_no_digest(machine, weights):
    with pytest.raises(FileNotFoundError):
        machine.digest(weights.with_name("absent.pt"))


def test_a_passing_fact_is_recalled_while_it_is_young(machine, monkeypatch):
    monkeypatch.setattr(world.time, "time", lambda: 100.0)
    machine.remember("unreachable host", "because")
    for now, answer in [(100.0, "because"), (160.0, "because"), (160.5, None), (99.0, None)]:
        monkeypatch.setattr(world.time, "time", lambda now=now: now)
        assert machine.recall("unreachable host", 60.0) == answer
    assert machine.recall("another host", 60.0) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"at": "noon", "value": "x"}', '{"at": 1}'])
def test_a_passing_fact_that_is_torn_or_foreign_is_not_recalled(machine, tmp_path, content):
    machine.remember("host", "because")
    (fact,) = (tmp_path / "facts" / "passing").iterdir()
    fact.write_text(content)
    assert machine.recall("host", 1e15) is None


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder on the import path, where every name is looked up anew."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    code_identity.cache_clear()
    world.library_version.cache_clear()
    yield folder
    code_identity.cache_clear()
    world.library_version.cache_clear()


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def identity(import_path):
    """The identity that a new process would compute."""
    code_identity.cache_clear()
    return dict(code_identity(import_path))


def distribution(folder, name, version):
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_module_of_ones_own_is_identified_by_its_source(here):
    write(here, dd_net="class Net: pass")
    before = identity("dd_net.Net")
    assert (before["module"], len(before["source"])) == ("dd_net", 64)
    write(here, dd_net="class Net: depth = 2")
    assert identity("dd_net.Net") != before


@pytest.mark.parametrize("changed", ["dd_pkg__net", "dd_pkg__deep__er", "dd_pkg__new", "dd_pkg__init"])
def test_any_change_in_a_package_changes_its_identity(here, changed):
    write(here, dd_pkg__init="", dd_pkg__net="x = 1", dd_pkg__deep__er="y = 1")
    (here / "dd_pkg" / "init.py").rename(here / "dd_pkg" / "__init__.py")
    before = identity("dd_pkg.net.Net")
    assert identity("dd_pkg.other") == before
    write(here, **{changed: "z = 2"})
    assert identity("dd_pkg.net.Net") != before


def test_a_renamed_file_changes_the_identity_of_its_package(here):
    write(here, dd_names__net="x = 1")
    before = identity("dd_names.net")
    (here / "dd_names" / "net.py").rename(here / "dd_names" / "nets.py")
    assert identity("dd_names.net") != before


def test_what_is_not_python_does_not_change_the_identity_of_a_package(here):
    write(here, dd_data__net="x = 1")
    before = identity("dd_data.net")
    (here / "dd_data" / "notes.txt").write_text("x")
    assert identity("dd_data.net") == before


def test_the_same_package_elsewhere_has_the_same_identity(here, tmp_path, monkeypatch):
    write(here, dd_moved__net="x = 1")
    before = identity("dd_moved.net")
    (tmp_path / "there").mkdir()
    (here / "dd_moved").rename(tmp_path / "there" / "dd_moved")
    monkeypatch.syspath_prepend(tmp_path / "there")
    assert identity("dd_moved.net") == before


def test_a_package_spread_over_two_folders_is_identified_by_both(here, tmp_path, monkeypatch):
    write(here, dd_spread__a="x = 1")
    write(tmp_path / "there", dd_spread__b="y = 1")
    monkeypatch.syspath_prepend(tmp_path / "there")
    before = identity("dd_spread.a")
    write(tmp_path / "there", dd_spread__b="y = 2")
    assert identity("dd_spread.a") != before


def test_an_installed_package_is_identified_by_its_version_alone(here):
    write(here, dd_installed__net="x = 1")
    distribution(here, "dd_installed", "1.2.3")
    assert identity("dd_installed.net.Net") == {"distribution": "dd_installed", "version": "1.2.3"}
    write(here, dd_installed__net="x = 2")
    assert identity("dd_installed.net.Net") == {"distribution": "dd_installed", "version": "1.2.3"}


def test_a_local_package_that_shadows_an_installed_one_is_identified_by_its_source(here, tmp_path, monkeypatch):
    distribution(here, "dd_shadowed", "1.0")
    write(tmp_path / "local", dd_shadowed__net="x = 1")
    monkeypatch.syspath_prepend(tmp_path / "local")
    assert set(identity("dd_shadowed.net")) == {"module", "source"}


def test_nothing_is_imported_to_identify_it(here):
    write(here, dd_boom="raise RuntimeError('imported')")
    identity("dd_boom.Net")
    assert "dd_boom" not in sys.modules


def test_code_without_source_is_identified_by_name_and_version(here):
    assert identity("math.sqrt") == {"module": "math", "version": "unknown"}


@pytest.mark.parametrize("path", ["dd_absent.net.Net", "", "../evil", "no-name.x", ".relative"])
def test_a_module_that_is_not_there_is_told_with_what_to_try(here, path):
    with pytest.raises(ConfigError, match="there is no module") as caught:
        code_identity(path)
    assert caught.value.problems[0].allowed
    assert "PYTHONPATH" in caught.value.problems[0].command


def test_a_library_has_the_version_of_the_distribution_that_brings_it(here):
    distribution(here, "dd_lib", "4.5")
    assert world.library_version("dd_lib") == "4.5"
    assert world.library_version("yaml") == world.library_version("PyYAML") != "unknown"
    assert world.library_version("dd_absent") == "unknown"


def test_whether_a_module_is_installed_is_told_without_importing_it(here):
    write(here, dd_there="raise RuntimeError('imported')")
    assert world.is_installed("dd_there")
    assert world.is_installed("dd_there.below")
    assert not world.is_installed("dd_absent")


def test_what_has_no_content_of_its_own_is_refused_and_not_read(machine, tmp_path):
    os.mkfifo(tmp_path / "weights")
    for path, answer in ((tmp_path / "weights", "it is a named pipe"), (Path("/dev/zero"), "it is a device")):
        with pytest.raises(OSError, match=answer):
            machine.digest(path)
