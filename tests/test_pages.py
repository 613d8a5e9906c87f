"""The pages: every command is run, planned or marked with the reason why not; what they quote and promise is so."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import FILES, run_module, run_readme
from pages import PAGES, ROOT, Block, blocks
from PIL import Image

from pipeline.config import wiring
from pipeline.config.complaints import RENAMED
from pipeline.errors import ConfigError

BLOCKS = [block for page in PAGES for block in blocks(page)]
DOCS = ROOT / "docs"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# Pages whose blocks of bash are run elsewhere: the examples', and the two sections of CONTRIBUTING.md.
RUN_ELSEWHERE = {ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*/README.md")}
RUN_HERE = sorted({b.page for b in BLOCKS if b.language == "bash" and not b.reason} - RUN_ELSEWHERE)
PLAN = "python -m pipeline "
PLANNED = sorted({c for b in BLOCKS if b.language != "bash" and not b.reason for c in b.commands if c.startswith(PLAN)})


def by_whom(block: Block, command: str) -> str | None:
    """What runs a command of a block without a reason, such as "a plan"; None where nothing does."""
    program = command.split()
    if block.language == "bash":
        return "this file" if block.page in RUN_HERE else "tests of the page" if block.page in RUN_ELSEWHERE else None
    if command.startswith(PLAN):
        return "a plan"
    if program[0] == "make":
        return "make" if program[1] in TARGETS else None
    if program[:2] == ["python", "-m"] and program[2].startswith("benchmarks."):
        home = ROOT / program[2].replace(".", "/")
        return "make" if home.is_dir() or home.with_suffix(".py").is_file() else None
    return None


def test_every_command_is_run_or_says_why_not() -> None:
    found = [(str(b), c) for b in BLOCKS if not b.reason for c in b.commands if by_whom(b, c) is None]
    assert len(PLANNED) > 60
    assert len(RUN_HERE) >= 6
    assert found == []


def test_a_reason_says_something_and_names_only_tests_that_there_are() -> None:
    reasons = [(str(b), b.reason) for b in BLOCKS if b.reason]
    assert len(reasons) > 5
    assert [r for r in reasons if len(r[1].split()) < 3] == []
    named = [(where, name) for where, reason in reasons for name in re.findall(r"tests/[\w/]+(?:\.py)?", reason)]
    assert [(where, name) for where, name in named if not (ROOT / name).exists()] == []


def test_a_symptom_quotes_words_that_a_message_has() -> None:
    """Texts of the code are joined first: they are cut into lines, and filled in at braces."""
    code = "".join(p.read_text() for room in ("pipeline", "stages") for p in sorted((ROOT / room).rglob("*.py")))
    joined = re.sub(r'"\s*\n\s*f?"', "", code) + (ROOT / "conf/wiring/names.yaml").read_text()
    page = (DOCS / "troubleshooting.md").read_text()
    quoted = [text for head in re.findall(r"^### (.*)", page, re.MULTILINE) for text in re.findall(r'"([^"]+)"', head)]
    parts = [part.strip() for text in quoted for part in text.split("…") if part.strip()]
    assert len(parts) > 12
    assert [part for part in parts if part not in joined] == []


def refused(spelling: str) -> str:
    """What to type instead of an old spelling, from its message."""
    group, _, option = spelling.partition("=")
    if now := RENAMED.get(f"{group}/{option}"):
        return now
    habits = yaml.safe_load((ROOT / "conf/wiring/habits.yaml").read_text())["options"]
    if option in habits.get(group, {}):
        return f"{group}={habits[group][option]}"
    with pytest.raises(ConfigError) as caught:
        wiring.refuse([spelling], ROOT / "conf")
    return caught.value.problems[0].command


def test_a_spelling_that_is_gone_gets_the_message_that_the_migration_page_has() -> None:
    table = (DOCS / "migration.md").read_text().partition("## On the command line")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)=(\w+)`[^|]*\| `([^`]+)`", table, re.MULTILINE)
    groups = {p.name for p in (ROOT / "conf/wiring").iterdir() if p.is_dir()}
    assert len(rows) >= 12
    assert groups - {group for group, *_ in rows} - {"generation", "tensorrt"} == set()
    for group, option, now in rows:
        said = refused(f"{group}={option}").replace(option, "NAME")
        assert now.replace(option, "NAME") in said, (group, option, said)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages' commands name: a model of one's own, photographs, files of frameworks."""
    folder = tmp_path_factory.mktemp("user")
    run_readme_until(DOCS / "tutorial.md", "python -m pipeline.new shapes", folder)
    mine = (folder / "conf/model/shapes.yaml").read_text().replace("name: shapes", "name: mine")
    pictures = "preprocessing: {resize: 64, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}\n"
    (folder / "conf/model/mine.yaml").write_text(mine.replace("image:", "input:") + pictures)
    rng = np.random.default_rng(0)
    for place in ("photos", "val/0", "val/1"):
        (folder / place).mkdir(parents=True)
        for n in range(4):
            Image.fromarray(rng.integers(0, 256, (240, 240, 3), "uint8")).save(folder / place / f"{n}.png")
    for name in ("cat", "dog"):
        Image.fromarray(rng.integers(0, 256, (240, 240, 3), "uint8")).save(folder / f"{name}.jpg")
    np.savez(folder / "real.npz", input=rng.random((4, 3, 64, 64), "float32"))
    data = "class Val:\n    def __len__(self):\n        return 4\n    def __getitem__(self, n):\n        return n\n"
    (folder / "my_pkg/data.py").write_text(data)
    (folder / "my_pkg/onnx_ops.py").write_text("def my_op(x):\n    return x\n")
    for ours, theirs in (("torch.onnx", "net.onnx"), ("lite.tflite", "net.tflite"), ("frozen.pb", "net.pb")):
        (folder / theirs).write_bytes((FILES / ours).read_bytes())
    shutil.copytree(FILES / "saved_model", folder / "folder")
    shutil.copytree(ROOT / "examples/09_language_model/model", folder / "FOLDER")
    package = folder / "other.mlpackage/Data/com.apple.CoreML/model.mlmodel"
    package.parent.mkdir(parents=True)
    package.touch()
    (folder / "names.txt").write_text("\n".join(map(str, range(1000))))
    return folder


def run_readme_until(page: Path, command: str, folder: Path) -> None:
    """Runs the commands of a page up to one, that one among them."""
    text, found, _ = page.read_text().partition(command)
    assert found, f"{page} has no {command}"
    line = page.read_text()[len(text) :].splitlines()[0]
    (folder / "until.md").write_text(f"{text}{line}\n```\n")
    run_readme(folder / "until.md", folder, folder / "store")


# Of an artifact, a folder or a machine that only exists once something has run.
ENDS = {"target=tensorrt ": 4}


@pytest.mark.slow  # each composes in test_conf_commands
@pytest.mark.parametrize("command", PLANNED)
def test_a_command_that_a_page_shows_can_be_planned(command: str, user: Path) -> None:
    args = shlex.split(command, comments=True)[3:]
    plan = [] if {"--help", "--cfg"} & {*args} else ["plan=true", f"store={user / 'store'}"]
    done = run_module("pipeline", [*args, *plan], user)
    code = next((c for words, c in ENDS.items() if words in command), 0)
    assert done.returncode == code, done.stderr


@pytest.mark.slow  # what they show: test_cli, test_reproduce, pipeline/test_new, stages/delivery
@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work_as_they_stand(page: Path, user: Path, tmp_path: Path) -> None:
    if page.name != "tutorial.md":
        for name in ("my_pkg", "conf", "net.pth"):
            (shutil.copytree if (user / name).is_dir() else shutil.copy)(user / name, tmp_path / name)
    store = user / "store"
    if page.name == "store.md":  # which is about a store and past runs
        store, earlier = tmp_path / "its_store", tmp_path / "earlier.md"
        runs = re.findall(r"runs/[\d-]+/[\w-]+", page.read_text())
        commands = "\n".join(
            f"python -m pipeline model=mine model.weights=random target=onnx hydra.run.dir={run}"
            for run in dict.fromkeys(runs)
        )
        earlier.write_text(f"```bash\n{commands}\n```\n")
        run_readme(earlier, tmp_path, store)
    run_readme(page, tmp_path, store)


def test_commands_are_told_from_what_they_print(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Words.\n\n    make run # it\n    load built\n\n<!-- not run: no GPU is here -->\n\n    python build.py\n\n"
        "1. A list.\n\n   ```bash\n   cat > x <<'END'\n   make nothing\n   END\n   ! false\n   ```\n\n"
        "```\n$ python -m pipeline\nwords\n```\n"
    )
    assert [(b.language, b.commands, b.reason) for b in blocks(page)] == [
        ("", ["make run # it"], None),
        ("", ["python build.py"], "no GPU is here"),
        ("bash", ["cat > x <<'END'\nmake nothing\nEND", "! false"], None),
        ("", ["python -m pipeline"], None),
    ]
