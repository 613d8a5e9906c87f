"""tests/quick.py: which tests a change calls for."""

from __future__ import annotations

import subprocess

import pytest
from quick import LAYOUT, ROOT, called_by, changed, chosen, texts

FILES = {
    "pipeline/cli.py": "",
    "pipeline/errors.py": "",
    "pipeline/store/key.py": "",
    "stages/onnx/simplify.py": "",
    "stages/coreml/mil/ops/pooling.py": "",
    "tests/harness.py": "",
    "tests/test_cli.py": "",
    "tests/test_conf.py": "README = ROOT / 'README.md'\nDOCS = ROOT / 'docs'",
    "tests/test_conf_types.py": "",
    "tests/test_layout.py": "",
    "tests/benchmarks/check/test_results.py": "",
    "tests/pipeline/store/test_key.py": "from pipeline.store import key",
    "tests/pipeline/planning/test_plan.py": "from pipeline.store import (\n    Store,\n    key,\n)",
    "tests/stages/conftest.py": "",
    "tests/stages/onnx/test_simplify.py": "from harness import export",
    "tests/stages/coreml/mil/test_ops.py": "",
    "tests/stages/checking/test_check.py": "import stages.onnx.simplify",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        (
            "stages/onnx/simplify.py",
            {"tests/stages/onnx", "tests/stages/checking/test_check.py", "tests/test_layout.py"},
        ),
        ("stages/coreml/mil/ops/pooling.py", {"tests/stages/coreml/mil", "tests/test_layout.py"}),
        (
            "pipeline/store/key.py",
            {"tests/pipeline/store", "tests/pipeline/planning/test_plan.py", "tests/test_layout.py"},
        ),
        ("pipeline/cli.py", {"tests/test_cli.py", "tests/test_layout.py"}),
        ("pipeline/__main__.py", {"tests/test_cli.py", "tests/test_layout.py"}),
        ("pipeline/errors.py", {"tests"}),
        ("pyproject.toml", {"tests"}),
        ("conf/target/onnx.yaml", {"tests/test_conf.py", "tests/test_conf_types.py", "tests/test_layout.py"}),
        ("tests/harness.py", {"tests/stages/onnx/test_simplify.py"}),
        ("tests/stages/conftest.py", {"tests/stages"}),
        ("tests/stages/onnx/test_simplify.py", {"tests/stages/onnx/test_simplify.py"}),
        ("tests/test_removed.py", set()),
        ("docs/precision.md", {"tests/test_conf.py"}),
        ("README.md", {"tests/test_conf.py"}),
        ("benchmarks/sweep.py", set()),
        ("benchmarks/check/faults/arrays.py", {"tests/benchmarks/check"}),
    ],
)
def test_a_file_calls_for_the_tests_that_mirror_import_or_read_it(tree, file, tests):
    assert set(chosen(tree, [file])) == tests


def test_each_test_is_told_with_the_file_that_calls_for_it_and_a_folder_stands_for_all_in_it(tree):
    tests = chosen(tree, ["tests/stages/onnx/test_simplify.py", "stages/onnx/simplify.py"])
    assert tests["tests/stages/onnx"] == "stages/onnx/simplify.py"
    assert "tests/stages/onnx/test_simplify.py" not in tests


def test_every_file_of_the_program_has_tests():
    files = [str(p.relative_to(ROOT)) for top in ("pipeline", "stages") for p in (ROOT / top).rglob("*.py")]
    tests = texts(ROOT)
    assert [f for f in files if not {*called_by(ROOT, f, tests)} - {*LAYOUT}] == []


@pytest.fixture
def checkout(tmp_path):
    """A checkout on a branch that parted from main, on which a commit, the index, the disk and a new file differ."""

    def git(*args):
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *args], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for name in ("same", "committed", "staged", "edited", "moved", "deleted"):
        (tmp_path / name).write_text(name * 9)
    git("add", ".")
    git("commit", "-qm", "first")
    git("switch", "-qc", "mine")
    (tmp_path / "committed").write_text("other")
    git("mv", "moved", "there")
    git("commit", "-qam", "second")
    git("switch", "-q", "main")
    (tmp_path / "on main").write_text("")
    git("add", ".")
    git("commit", "-qm", "elsewhere")
    git("switch", "-q", "mine")
    (tmp_path / "staged").write_text("other")
    git("add", "staged")
    (tmp_path / "edited").write_text("other")
    (tmp_path / "deleted").unlink()
    (tmp_path / "ütracked").write_text("")
    return tmp_path


UNCOMMITTED = ["deleted", "edited", "staged", "ütracked"]


def test_all_that_differs_from_where_the_histories_parted_counts(checkout):
    assert changed(checkout, "main") == ("main", sorted([*UNCOMMITTED, "committed", "moved", "there"]))


def test_without_an_upstream_only_what_is_not_committed_counts(checkout):
    assert changed(checkout, None) == ("HEAD", UNCOMMITTED)


def test_the_upstream_is_what_is_compared_with(checkout):
    subprocess.run(["git", "branch", "-q", "-u", "main"], cwd=checkout, check=True)
    assert changed(checkout, None)[0] == "main"
    assert "committed" in changed(checkout, None)[1]


def test_a_base_that_is_no_commit_is_told(checkout):
    with pytest.raises(SystemExit, match="BASE=mian: no commit of this repository\n    try:     make quick BASE=main"):
        changed(checkout, "mian")
