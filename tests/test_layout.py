"""The house: a stage is in conf/stage/, in one room of stages/ and in tests/; rooms and files keep natural sizes."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline import formats
from pipeline.code import index, names
from pipeline.config.instantiate import find_stage
from pipeline.stage import Stage, name_of

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
STAGES = sorted(p.stem for p in (CONF / "stage").glob("*.yaml"))
YAMLS = sorted(str(p.relative_to(CONF)) for p in CONF.rglob("*.yaml"))
SOURCES = [p for room in ("pipeline", "stages") for p in sorted((ROOT / room).rglob("*.py"))]
LONGEST, FULLEST = 400, 25


def written_keys(yaml):
    """The keys that a YAML writes itself, without those of its defaults."""
    return {str(k) for k in OmegaConf.load(CONF / yaml)} - {"defaults"}


def home(name):
    """The file of a stage, below stages/, found by its name alone."""
    (path,) = (ROOT / "stages").glob(f"*/{name}.py")
    return path.relative_to(ROOT / "stages")


def test_every_stage_in_code_has_a_yaml():
    homes = [(home, n) for n in names.all_shipped() for home in names.homes(n) if home.endswith(f".{n}")]
    classes = [getattr(importlib.import_module(home), names.class_of(n)) for home, n in homes]
    stages = [c for c in classes if issubclass(c, Stage) and not any(c in other.__mro__[1:] for other in classes)]
    shared = {base for c in stages for base in c.__mro__[1:]}
    assert sorted(name_of(c) for c in stages if c not in shared) == STAGES


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_lies_in_a_room_and_its_test_in_the_same_room(name):
    path = home(name)
    assert len(path.parts) == 2
    assert (ROOT / "tests" / "stages" / path.parent / f"test_{name}.py").is_file()


@pytest.mark.parametrize("package", ["pipeline", "stages"])
def test_a_test_is_named_after_a_file_and_lies_in_its_room(package):
    strangers = {
        test.relative_to(ROOT).as_posix()
        for test in (ROOT / "tests" / package).rglob("test_*.py")
        if not _tested(ROOT / package / test.relative_to(ROOT / "tests" / package).parent, test.stem[5:])
    }
    assert strangers == set()


def _tested(room, name):
    """Whether a room has a file or a folder of a test's name, or of the part of it before an underscore."""
    name = "__main__" if name == "main" else name
    starts = {"_".join(name.split("_")[:n]) for n in range(1, name.count("_") + 2)}
    return any((room / f"{start}.py").is_file() or (room / start).is_dir() for start in starts)


def test_no_file_is_long_and_no_folder_is_full():
    assert {str(p.relative_to(ROOT)) for p in SOURCES if len(p.read_text().splitlines()) > LONGEST} == set()
    assert max(len(list(folder.glob("*.py"))) for folder in {p.parent for p in SOURCES}) <= FULLEST


def test_there_are_yamls():
    assert len(YAMLS) >= 30


@pytest.mark.parametrize("yaml", YAMLS)
def test_every_yaml_opens_with_a_sentence(yaml):
    lines = (line for line in (CONF / yaml).read_text().splitlines() if not line.startswith("# @package"))
    assert re.match(r"# [A-Za-z`].{20,}", next(lines))


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_yaml_names_its_stage_and_writes_out_every_setting_and_no_other(name):
    loaded = OmegaConf.load(CONF / "stage" / f"{name}.yaml")
    stage = find_stage(loaded["_target_"])
    assert (loaded["_target_"], name_of(stage)) == (name, name)
    assert written_keys(f"stage/{name}.yaml") == {"_target_", "needs", *(f.name for f in dataclasses.fields(stage))}


@pytest.mark.parametrize("name", STAGES)
def test_settings_have_no_second_default_in_python(name):
    missing = dataclasses.MISSING
    fields = dataclasses.fields(find_stage(name))
    assert [f.name for f in fields if (f.default, f.default_factory) != (missing, missing)] == []


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_typed_by_its_schema(name):
    assert f"/wiring/schema/{name}@_here_" in OmegaConf.load(CONF / "stage" / f"{name}.yaml")["defaults"]


def test_what_a_format_declares_is_what_a_key_reads_of_it():
    declared = {
        kind: (room, {n: v for n, v in vars(form).items() if isinstance(v, str)})
        for kind, (room, form) in formats.all_formats().items()
    }
    assert dict(index.here().formats) == declared


# The core knows no format. These files show how one looks from there, in a docstring.
SHOWN = {
    "formats.py": "what a format declares, and how it is asked",
    "stage.py": "how the name of a stage is made",
    "code/names.py": "the same, from the other side",
    "code/closure.py": "the code behind a check",
    "code/reading.py": "what is read of a format.py",
    "config/choices.py": "which YAML names another",
    "config/goes_with.py": "what a rule in a YAML looks like",
    "machine/gpu.py": "what is native to a GPU",
    "settings.py": "a setting and its value",
}
NAMES = re.compile("onnx|openvino|core ?ml|tensorrt|torchscript", re.IGNORECASE)


def test_the_core_has_no_formats_name_but_in_the_docstrings_that_show_one():
    sources = {p.relative_to(ROOT / "pipeline").as_posix(): p.read_text() for p in (ROOT / "pipeline").rglob("*.py")}
    assert {name for name, text in sources.items() if NAMES.search(text)} == SHOWN.keys()
    for name in SHOWN:
        tree = ast.parse(sources[name])
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        assert not NAMES.search(ast.unparse(tree)), name
