"""A new format is one folder and its YAMLs: the one that CONTRIBUTING.md adds does all that the shipped ones do."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from checkout import commands, copied, lines, shell

# The digest of the code behind every stage, for each kind that an artifact may be of.
DIGESTS = """
import json
from pipeline.code import closure, index
known = index.here()
stages = sorted(m for m, s in known.sources.items() if m.startswith("stages.") and s.classes)
print(json.dumps({m: [closure.digest(m, [kind]) for kind in ("module", "onnx", "openvino", "coreml")] for m in stages}))
"""
MODEL = "model=custom model.factory=net.Net model.weights=random model.inputs.input.shape=[batch,8]"


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that could be touched."""
    files = (p for room in ("pipeline", "stages", "conf", "tests") for p in (folder / room).rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if "__pycache__" not in p.parts}


def digests(copy: Path) -> dict[str, list[str]]:
    (copy / "digests.py").write_text(DIGESTS)
    document: dict[str, list[str]] = json.loads(shell(copy, ".venv/bin/python digests.py"))
    return document


@pytest.fixture(scope="module")
def steps() -> list[str]:
    return commands("How to add a format")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> Path:
    """A copy of the checkout with the format, a model, and nothing else changed."""
    copy = copied(tmp_path_factory.mktemp("toy"))
    before, keys = contents(copy), digests(copy)
    shell(copy, *steps[:-1])
    now = contents(copy)
    assert {path: now[path] for path in before} == before
    assert {module: digest for module, digest in digests(copy).items() if "plain" not in module} == keys
    return copy


def test_it_takes_one_folder_and_few_lines(toy: Path) -> None:
    yamls = [toy / "conf" / "target" / "plain.yaml", toy / "conf" / "stage" / "compile_plain.yaml"]
    assert lines([*(toy / "stages" / "plain").glob("*.py"), *yamls]) < 150


def test_the_rooms_hold_it(toy: Path) -> None:
    assert "0 broken" in shell(toy, ".venv/bin/lint-imports")


@pytest.mark.slow
def test_a_model_is_taken_to_it_checked_measured_and_handed_over(toy: Path) -> None:
    measured = (
        "also=benchmark stages.benchmark.seconds=0.1 stages.benchmark.rounds=2 'stages.benchmark.against=[eager]'"
    )
    shell(toy, f".venv/bin/python -m pipeline {MODEL} target=plain {measured} stages.save.bundle=true output=made")
    output = shell(toy, ".venv/bin/python made/selfcheck.py --runs 1")
    assert "it agrees with the PyTorch model" in output
    output = shell(toy, ".venv/bin/python -m pipeline.inspect made/custom.plain")
    assert "its files are as they were handed over" in output
    assert re.search(r"check_compile, of compile: agrees with the PyTorch model", output)
    assert "audit, of compile: operations float32 2; weights float32 212" in output


@pytest.mark.slow
def test_the_commands_of_the_page_work_as_they_stand(toy: Path, steps: list[str]) -> None:
    output = shell(toy, steps[-1])
    assert re.search(r"numpy +\S+ +needed", output)
    assert "runs plain graphs" in output
    assert "identical" in output
    assert re.search(r"\bplain\b.*\n.*\bonnx\b|\bonnx\b.*\n.*\bplain\b", output)
