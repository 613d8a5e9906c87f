"""The command line, run as a person would run it: in a folder of their own, with a store of its own."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pages

SHOP = Path(__file__).parent / "shop"
FILES = Path(__file__).parent / "files"  # small files of other frameworks; see its README
MODEL = (
    "model=custom",
    "model.factory=net.Net",
    "model.weights=net.pth",
    "model.inputs.input.shape=[batch,3,16,16]",
)
# The modules that every conversion imports. Not torchvision: our own code looks whether a model has imported it.
IMPORTED = [
    "pipeline.cli",
    "pipeline.by_hydra",
    "torch",
    "torch._dynamo",
    "torch.onnx",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxsim",
]
# The modules that an export imports when it begins, a third of its time.
IMPORTED += ["torch.export._trace", "torch.export.pt2_archive", "torch._functorch.aot_autograd"]
IMPORTED += ["onnxscript.function_libs.torch_lib.ops"]


def run_module(
    module: str, args: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m module` in a process of its own, forked from one that has imported the libraries of a conversion.

    Their import is half the work of converting a small model. `Shop.start`, test_examples, test_models, test_sweep and
    test_bytes start a new interpreter, and thus test what happens before any import.
    """
    if sys.platform != "linux":  # elsewhere the system's own libraries do not survive a fork
        command = [sys.executable, "-m", module, *args]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(IMPORTED)
    return _forked(forks, module, args, folder, env)


def run_light(
    module: str, args: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command that needs no library of a conversion, forked from this process."""
    return _forked(multiprocessing.get_context("fork"), module, args, folder, env)


def _forked(
    forks: Any, module: str, args: Sequence[str], folder: Path, env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as place:
        paths = [f"{place}/{name}" for name in ("out", "err")]
        process = forks.Process(target=_become, args=(module, args, folder, dict(env or os.environ), paths))
        process.start()
        process.join(900)
        assert process.exitcode is not None, f"{module} {args} did not end"
        return subprocess.CompletedProcess([module, *args], process.exitcode, *(Path(p).read_text() for p in paths))


def _become(module: str, args: Sequence[str], folder: Path, env: Mapping[str, str], paths: Sequence[str]) -> None:
    """Turns this process into `python -m module` with its output in files."""
    gc.freeze()  # a garbage collection would touch every page of the libraries
    for descriptor, path in enumerate(paths, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    if sys.stderr is not sys.__stderr__:  # pytest has put something else there
        sys.stdout, sys.stderr = (open(n, "w", closefd=False, buffering=1) for n in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [str(folder), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [module, *args]
    if module == "pipeline" and "-m" not in args:
        _isolate_where_asked()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _isolate_where_asked() -> None:
    """Runs isolable stages in this process: a second one would import the libraries again in each of hundreds of runs.

    Not where a limit is set. Sweeps, and runs by `Shop.start`, isolate them as usual.
    """
    from pipeline.running import isolation

    real = isolation.from_settings
    default = {"isolate": True, "memory": None, "timeout": None}
    isolation.from_settings = lambda settings: None if settings == default else real(settings)


def run_readme(readme: Path, folder: Path, store: Path) -> None:
    """Runs the commands of a page as they stand; each must succeed, or fail if it begins with "! ".

    Args:
        readme: The page. All its blocks of bash are run, except those with a reason; see pages.py.
        folder: The folder in which the commands run.
        store: The store. Nothing else of the caller's configuration is used; `python` is this interpreter.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "DRYDOCK_STORE": str(store), "TORCH_HOME": str(store.with_name("torch"))}
    lines = [
        c for block in pages.blocks(readme) if block.language == "bash" and not block.reason for c in block.commands
    ]
    assert lines
    bash = partial(subprocess.run, cwd=folder, env=env, capture_output=True, text=True, check=False)
    for line in lines:
        fails = line.startswith("! ")
        command = line.removeprefix("! ")
        if re.fullmatch(r"python -m [^|;<>]*", command):
            # bash says what the arguments are.
            shown = bash(["bash", "-c", f"python() {{ printf '%s\\0' \"$@\"; }}\n{command}"])
            _, module, *args, _ = shown.stdout.split("\0")
            done = run_module(module, args, folder, env)
        else:
            done = bash(["bash", "-c", command])
        assert (done.returncode != 0) is fails, f"{line}\n{done.stdout}{done.stderr}"


class Shop:
    """A user's folder with a model in it, a store of its own, and a way to run the pipeline there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"

    def start(self, *args: str, code: str = "-m pipeline") -> subprocess.Popen[str]:
        """Runs a command in a new interpreter, and does not wait."""
        command = [sys.executable, *code.split(), *self._with_store(args)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """See `run_module`."""
        return run_module("pipeline", self._with_store(args), self.folder)

    def run_anew(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a new interpreter: for commands that start processes for which a fork would wait."""
        process = self.start(*args)
        out, err = process.communicate(timeout=900)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def converted(self, *args: str) -> dict[str, object]:
        """The run.json of a run that must succeed."""
        done = self.run(*MODEL, *args)
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("record ")]
        record = json.loads(Path(line.split(maxsplit=1)[1]).read_text())
        assert isinstance(record, dict)
        return record

    def _with_store(self, args: Sequence[str]) -> list[str]:
        own = [] if any(a.startswith("store=") for a in args) else [f"store={self.store}"]
        return [*args, *own]
