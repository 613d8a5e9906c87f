"""pipeline/config/cache: the same command again runs without Hydra, others never."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.config.cache import compositions, drafts, sources

RUN = """
import sys
from pipeline import cli
code = cli.main()
print("composed by", "Hydra" if "hydra" in sys.modules else "none", code, file=sys.stderr)
"""
WORDS = ["model=mine", "target=onnx", "plan=true"]
MODEL = "defaults: [resnet50]\nname: mine\nlicense: ${oc.env:LICENSE,MIT}\n"


class Project:
    """A folder with a model's YAML, and a cache that nothing else uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.cache = folder / "cache"
        self.model = self.folder / "conf" / "model" / "mine.yaml"
        self.model.parent.mkdir(parents=True)
        self.model.write_text(MODEL)
        self.env = {**os.environ, "XDG_CACHE_HOME": str(self.cache), "DRYDOCK_STORE": str(folder / "store")}
        time.sleep(2 * sources.MARGIN)  # what was written a moment ago is not kept

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", RUN, *words]
        return subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)

    @property
    def files(self) -> list[Path]:
        return sorted(self.cache.rglob("*.json"))


def composed_by(done: subprocess.CompletedProcess[str]) -> str:
    match = re.search(r"^composed by (\w+) 0$", done.stderr, re.MULTILINE)
    assert match, done.stderr
    return match[1]


def composed_once(project: Project) -> Project:
    assert composed_by(project.run(*WORDS)) == "Hydra"
    return project


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return composed_once(Project(tmp_path_factory.mktemp("shared")))


@pytest.fixture
def enter(monkeypatch):
    def go(project: Project) -> Project:
        monkeypatch.chdir(project.folder)
        monkeypatch.setenv("XDG_CACHE_HOME", str(project.cache))
        assert compositions.find(WORDS) is not None
        return project

    return go


def name_folder(project, monkeypatch):
    monkeypatch.setenv("DRYDOCK_CONF", str(project.folder / "conf"))


def set_variable(project, monkeypatch):
    monkeypatch.setenv("LICENSE", "BSD")


def trust_package(project, monkeypatch):
    monkeypatch.setenv("DRYDOCK_TRUST", "my_pkg")


def go_elsewhere(project, monkeypatch):
    monkeypatch.chdir(project.folder.parent)


def let_others_write(project, monkeypatch):
    project.files[0].chmod(0o666)


def tear(project, monkeypatch):
    project.files[0].write_text(project.files[0].read_text()[:-100])


def call_another_class(project, monkeypatch):
    content = json.loads(project.files[0].read_text())
    text = content["text"].replace('["stages.onnx.simplify", "Simplify"]', '["types", "SimpleNamespace"]')
    assert text != content["text"]
    project.files[0].write_text(json.dumps(content | {"text": text}))


AROUND = [name_folder, set_variable, trust_package, go_elsewhere]


@pytest.mark.parametrize("change", [*AROUND, let_others_write, tear, call_another_class])
def test_a_composition_is_not_used_after(shared, enter, monkeypatch, change):
    (file,) = enter(shared).files
    text, mode = file.read_text(), file.stat().st_mode
    change(shared, monkeypatch)
    assert compositions.find(WORDS) is None
    file.write_text(text)
    file.chmod(mode)


@pytest.mark.parametrize(("option", "text"), [("mine", f"{MODEL}path: null\n"), ("resnet50", "name: other\n")])
def test_a_yaml_that_is_written_anew_or_appears_is_noticed(tmp_path, enter, option, text):
    project = enter(composed_once(Project(tmp_path)))
    project.model.with_name(f"{option}.yaml").write_text(text)
    assert compositions.find(WORDS) is None


def test_a_run_without_hydra_says_and_writes_what_one_with_it_does(tmp_path):
    project = Project(tmp_path)
    first, second = project.run(*WORDS), project.run(*WORDS)
    assert [composed_by(first), composed_by(second)] == ["Hydra", "none"]
    assert second.stdout == first.stdout != ""
    folders = sorted((project.folder / "runs").glob("*/*"))[-2:]
    files = [{p.relative_to(f): p.read_text() for p in f.rglob("*") if p.is_file()} for f in folders]
    moments = re.compile(rf"{'|'.join(f.name for f in folders)}|[\d-]+[T ][\d:.,+]+|composed by \w+")
    one, other = ({name: moments.sub("", text) for name, text in texts.items()} for texts in files)
    assert one == other
    assert {Path("run.json"), Path(".hydra/config.yaml"), Path(".hydra/hydra.yaml")} <= files[0].keys()


@pytest.mark.parametrize(
    "words",
    [
        ["model=resnet", "plan=true"],
        [*WORDS, "+vars.stamp=${now:%S}"],
        [*WORDS, "hydra/callbacks=mlflow"],
        ["--cfg", "job"],
        pytest.param(["-m", *WORDS, "opset=18,20"], marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_of_the_moment_or_more_than_a_run_is_not_kept(tmp_path, words):
    project = Project(tmp_path)
    project.run(*words)
    assert project.files == []


def test_a_yaml_that_nobody_chose_may_be_no_text(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: caf\xe9 ${oc.env:NAMED}".encode("latin-1"))
    assert list(drafts._variables([tmp_path])) == ["NAMED"]


def test_what_was_written_after_the_process_began_is_not_kept(tmp_path):
    (tmp_path / "old.yaml").touch()
    at = (tmp_path / "old.yaml").stat().st_ctime
    assert sources.now([tmp_path], before=at) is None
