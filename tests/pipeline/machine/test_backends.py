"""A library is judged by what becomes of its import in a process of its own."""

import asyncio
import os
import sys
import time

import pytest

from pipeline.machine import backends, probe
from pipeline.machine.backends import Backend, State
from pipeline.machine.installed import Requirement, requirements
from pipeline.machine.world import is_installed
from tests.test_architecture import ROOT


def ask(module):
    return asyncio.run(backends.ask(module))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of some source, which a process of ours finds before all others."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH') or ROOT}")

    def make(name, **modules):
        (tmp_path / name).mkdir()
        for module, source in {"__init__": "", **modules}.items():
            (tmp_path / name / f"{module}.py").write_text(source)
        return name

    return make


def test_what_a_library_prints_is_no_answer(package):
    assert ask(package("chatty", __init__="import os\nprint('{}')\nos.write(1, b'hello')")) == {"facts": {}}


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("raise ImportError('one\\ntwo\\n')", {"error": "ImportError: two", "lacks": None}),
        ("raise ImportError", {"error": "ImportError", "lacks": None}),
        ("raise SystemExit(3)", {"error": "SystemExit: 3", "lacks": None}),
        ("import nobody_has", {"error": "ModuleNotFoundError: No module named 'nobody_has'", "lacks": "nobody_has"}),
        ("import os; os.write(2, b'so be it\\n'); os.abort()", {"error": "its import ended by SIGABRT: so be it"}),
        ("import os; os._exit(7)", {"error": "its import ended by exit code 7"}),
        ("import os; os._exit(0)", {"error": "its import ended by exit code 0"}),
    ],
)
def test_an_import_that_goes_wrong_is_told_by_its_last_line(package, source, answer):
    assert ask(package("wrong", __init__=source)) == answer


def test_an_import_that_hangs_is_ended(package, monkeypatch):
    monkeypatch.setattr(backends, "PATIENCE_SECONDS", 1.0)
    began = time.monotonic()
    assert ask(package("hanging", __init__="import time\ntime.sleep(600)")) == {
        "error": "its import did not end within 1 s"
    }
    assert time.monotonic() - began < 300


def test_core_ml_without_what_writes_its_models_is_broken(package):
    package("coremltools", libmilstoragepython="")
    assert ask("coremltools")["lacks"] == "coremltools.libmodelpackage"


def test_core_ml_writes_models_where_it_cannot_run_them(package, monkeypatch):
    package("coremltools", libmilstoragepython="", libmodelpackage="", libcoremlpython="raise ImportError")
    for name in [n for n in sys.modules if n.partition(".")[0] == "coremltools"]:  # the real one, of another test
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(os.environ["PYTHONPATH"].partition(os.pathsep)[0])
    monkeypatch.setattr(sys, "platform", "linux")
    assert probe.main("coremltools")["facts"]["runs models"].startswith("no, only on macOS")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert probe.main("coremltools")["error"] == "ImportError"
    for name in [n for n in sys.modules if n.partition(".")[0] == "coremltools"]:  # nor is this one another test's
        del sys.modules[name]


@pytest.mark.parametrize(
    ("version", "lacks", "command"),
    [
        ("9.0", None, "pip install --force-reinstall --no-deps 'coremltools>=9.0'"),
        ("9.0", "coremltools.lib", "pip install --force-reinstall --no-deps 'coremltools>=9.0'"),
        ("9.0", "attrs", "pip install 'torch-drydock[coreml]', which brings 'attrs' too"),
        ("unknown", None, "remove /here, or take it off PYTHONPATH; then pip install 'torch-drydock[coreml]'"),
    ],
)
def test_the_command_fits_what_is_broken(monkeypatch, version, lacks, command):
    monkeypatch.setattr(backends, "how_to_install", lambda module: "pip install 'torch-drydock[coreml]'")
    requirement = Requirement("coremltools", "coremltools", ">=9.0", "coreml")
    broken = Backend("coremltools", (), State.BROKEN, version, "/here", requirement, error="ImportError", lacks=lacks)
    assert broken.problem.command == command


def test_what_is_optional_may_be_missing_or_too_old():
    requirement = Requirement("timm", "timm", ">=2099", "timm")
    for state in (State.WORKS, State.MISSING, State.UNFIT):
        assert Backend("timm", (), state, "1", wanted=requirement).problem is None


def test_every_requirement_of_ours_that_is_installed_is_found_by_the_name_that_it_is_imported_by():
    always = [r.module for r in requirements() if r.extra is None]
    assert {"PIL", "hydra", "torch"} <= set(always)
    assert [m for m in always if not is_installed(m)] == []
