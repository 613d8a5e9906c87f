"""code/closure.py and index.py: which files are behind a module, and what a digest of them knows."""

import json
import os
import shutil

import pytest

from pipeline.code import closure, index
from pipeline.code.index import Index

FILES = {
    "__init__.py": "",
    "a/__init__.py": "",
    "a/boil.py": "from stages.a import water\nfrom pipeline import formats\nformats.part(kind, 'runtime')\n",
    "a/water.py": "import stages.b.cup\nHOT = 100\n",
    "b/__init__.py": "",
    "b/cup.py": 'TABLE = "sizes.json"\n',
    "b/sizes.json": "{}",
    "formats/__init__.py": "",
    "tea/__init__.py": "",
    "tea/format.py": 'FORMATS = {"tea": Format(runtime="brew")}\n',
    "tea/brew.py": "",
    "coffee/__init__.py": "",
    "coffee/format.py": 'FORMATS = {"coffee": Format(runtime="brew")}\n',
    "coffee/brew.py": "",
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small package of stages, and a way to read it anew."""
    for name, text in FILES.items():
        (tmp_path / "stages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stages" / name).write_text(text)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "stages"


@pytest.fixture
def digest_of(tree, monkeypatch):
    """The digest of a module's code as the files are now."""

    def digest(module="stages.a.boil", kinds=("tea",)):
        code = Index(tree)
        monkeypatch.setattr(index, "here", lambda: code)
        closure._content.cache_clear()
        return closure.digest(module, kinds)

    return digest


def test_behind_a_module_is_what_it_leads_to_and_the_formats_of_its_kinds(tree, digest_of):
    digest_of()
    assert set(closure.files("stages.a.boil", ["tea"])) == {
        *("stages/__init__.py", "stages/a/__init__.py", "stages/a/boil.py", "stages/a/water.py"),
        *("stages/b/__init__.py", "stages/b/cup.py", "stages/b/sizes.json"),
        *("stages/tea/__init__.py", "stages/tea/brew.py"),
    }


CHANGES = {
    "a file that it imports": ("a/water.py", "import stages.b.cup\nHOT = 99\n"),
    "a file behind that one": ("b/cup.py", 'TABLE = "sizes.json"\nX = 1\n'),
    "data": ("b/sizes.json", '{"x": 1}'),
    "the runtime of its kind": ("tea/brew.py", "X = 1\n"),
    "what its package runs": ("a/__init__.py", "import os\n"),
}


@pytest.mark.parametrize(("file", "text"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_what_is_behind_it_changes_the_digest(tree, digest_of, file, text):
    before = digest_of()
    (tree / file).write_text(text)
    assert digest_of() != before


def test_a_change_of_another_format_changes_nothing_and_neither_does_a_new_one(tree, digest_of):
    before = digest_of()
    (tree / "coffee" / "brew.py").write_text("X = 1\n")
    (tree / "milk").mkdir()
    (tree / "milk" / "__init__.py").write_text("")
    (tree / "milk" / "format.py").write_text('FORMATS = {"milk": Format(runtime="pour")}\n')
    (tree / "milk" / "pour.py").write_text("")
    assert digest_of() == before
    assert digest_of(kinds=["coffee"]) != before


def test_a_file_may_move_with_those_that_name_it(tree, digest_of):
    before = digest_of()
    shutil.move(tree / "a" / "boil.py", tree / "b" / "heat.py")
    shutil.move(tree / "b" / "cup.py", tree / "a" / "cup.py")
    shutil.move(tree / "b" / "sizes.json", tree / "a" / "sizes.json")
    (tree / "a" / "water.py").write_text("import stages.a.cup\nHOT = 100\n")
    assert digest_of("stages.b.heat") == before


def test_an_import_that_leads_elsewhere_is_a_change_though_both_files_are_there(tree, digest_of):
    (tree / "a" / "water.py").write_text("from stages.b.cup import X\nfrom stages.b.mug import Y\n")
    (tree / "b" / "mug.py").write_text("X = Y = 1\n")
    before = digest_of()
    (tree / "a" / "water.py").write_text("from stages.b.mug import X\nfrom stages.b.cup import Y\n")
    assert digest_of() != before


def test_a_file_outside_counts_by_what_it_uses_of_ours(tree, digest_of, tmp_path):
    digest_of()
    (tmp_path / "mine.py").write_text("from stages.a import water\n")
    (tmp_path / "alone.py").write_text("import os\n")
    assert closure.digest_of_file(tmp_path / "mine.py") == closure.digest("stages.a.water")
    assert closure.digest_of_file(tmp_path / "alone.py") == ""


def settle(tree):
    for path in tree.rglob("*.py"):
        os.utime(path, (1, 1))


def test_what_was_read_is_kept_until_a_file_changes(tree, monkeypatch):
    monkeypatch.setattr(index, "SETTLED_SECONDS", -1.0)  # ctime cannot be set back
    before = Index(tree)
    monkeypatch.setattr(index.reading, "read", None)
    assert Index(tree).sources == before.sources
    (tree / "a" / "water.py").write_text("HOT = 98\n")
    with pytest.raises(TypeError):
        Index(tree)


def test_a_file_that_may_still_change_unseen_is_not_kept(tree):
    Index(tree)
    cached = [json.loads(p.read_text())["modules"] for p in [tree / "__pycache__" / "code.json"] if p.exists()]
    assert cached in ([], [{}])


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_keeps_it_in_the_users_cache(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "SETTLED_SECONDS", -1.0)
    tree.chmod(0o555)
    Index(tree)
    assert [*(tmp_path / "cache" / "drydock").glob("code-*.json")]


def test_a_wheel_brings_what_reading_finds(tree, monkeypatch):
    read = Index(tree).sources
    (tree / index.READY_MADE).write_text(json.dumps(index.ready_made(tree)))
    monkeypatch.setattr(index.reading, "read", None)
    assert Index(tree).sources == read


def test_a_damaged_memo_is_read_over(tree, monkeypatch):
    monkeypatch.setattr(index, "SETTLED_SECONDS", -1.0)
    before = Index(tree).sources
    for damage in (b"{", b"[]", b'{"reader": "other", "modules": {}}'):
        (tree / "__pycache__" / "code.json").write_bytes(damage)
        assert Index(tree).sources == before
