"""What TensorRT's genuine Python bindings have: run as a script, over stub libraries, it prints that as JSON.

The bindings are a wheel of their own, which wants nine symbols from three libraries and a GPU for everything beyond its
classes. `surface` compiles stubs of these from C.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Where `make` puts them, by major version.
BINDINGS = Path(os.environ.get("TENSORRT_BINDINGS", Path(sys.prefix) / "tensorrt"))
MAJORS = ("10", "11")
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = """
createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL createNvOnnxParser_INTERNAL
createNvOnnxParserRefitter_INTERNAL getBuilderPluginRegistry getNvOnnxParserVersion getPluginRegistry
initLibNvInferPlugins
"""


@functools.cache
def surface(major: str) -> dict:
    """Classes and functions of the bindings of a major version, by name; skips the test where they are not."""
    if not (BINDINGS / major).is_dir():
        pytest.skip(f"the bindings of TensorRT {major} are not in {BINDINGS}: make tensorrt-bindings")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stub libraries")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "stub.c")
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS.split()))
        for library in LIBRARIES:
            so = f"lib{library}.so.{major}"
            built = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{so}", "-o", Path(folder, so), source]
            subprocess.run(built, check=True)
        env = {**os.environ, "PYTHONPATH": str(BINDINGS / major), "LD_LIBRARY_PATH": folder}
        done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def main() -> dict:
    import tensorrt_bindings

    names = {n: getattr(tensorrt_bindings, n) for n in dir(tensorrt_bindings) if not n.startswith("_")}
    classes = {n: _class(o) for n, o in names.items() if isinstance(o, type)}
    functions = {n: _signatures(o) for n, o in names.items() if n not in classes and callable(o)}
    return {"version": tensorrt_bindings.__version__, "classes": classes, "functions": functions}


def _class(kind: type) -> dict:
    properties, methods, constants = {}, {}, []
    for name in dir(kind):
        member = getattr(kind, name)
        if isinstance(member, property):
            properties[name] = "settable" if member.fset else "read only"
        elif callable(member) and (not name.startswith("_") or name in ("__init__", "__bool__")):
            methods[name] = _signatures(member)
        elif not name.startswith("_"):
            constants.append(name)
    return {"properties": properties, "methods": methods, "constants": constants}


def _signatures(function: object) -> list[str]:
    """Of each overload, as pybind11 puts it into the docstring: "(self: Builder, network: …) -> IHostMemory"."""
    lines = (getattr(function, "__doc__", "") or "").replace("tensorrt_bindings.tensorrt.", "").splitlines()
    return [m[1] for line in lines if (m := re.match(r"(?:\d+\. )?\w+(\((?!\*args).*\) -> .+)", line.strip()))]


if __name__ == "__main__":
    print(json.dumps(main()))
