"""delivery/bundle_tensorrt.py: the script of a bundle, run with the double of TensorRT where nothing of ours is."""

from __future__ import annotations

import ast
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import harness
import onnx
import pytest
from conversions import quantized
from handed_over import change_answer, device, flip, recorded, signed
from harness import NOTHING_IGNORED, backend, run_stage
from tensorrt_host import Host

from pipeline.errors import BACKEND_MISSING, CHECK_FAILED, INTERRUPTED, OK, STAGE_FAILED, USAGE, StageError
from pipeline.machine import gpu
from stages.delivery import bundle as bundles
from stages.delivery.bundle_tensorrt import BundleTensorrt
from stages.onnx.cast_fp16 import CastFp16
from stages.samples.draw_samples import DrawSamples
from stages.tensorrt.host import build_script
from stages.tensorrt.host.build import Plan

DOUBLES = Path(__file__).parents[3] / "tests" / "doubles"
# The double reads and runs graphs by what TensorRT has of its own.
OF_THE_DOUBLE = ("onnx", "onnxruntime", "google", "ml_dtypes")
AS_IT_SHIPS = {
    f: getattr(Plan("x"), f) for f in Plan.__dataclass_fields__ if f not in ("name", "types", "timing_cache")
}
AS_IT_SHIPS |= {"profiles": None, "name": "net", "releases": ["10", "11"], "license": None, "preprocessing": None}


def make(artifact, reference, folder, precision="fp32", compute="float32", **settings) -> Path:
    """What the user is handed."""
    checked = recorded(replace(artifact, digest="d" * 64), reference, folder, precision=precision, compute=compute)
    result = folder / "bundle"
    run_stage(BundleTensorrt(**{**AS_IT_SHIPS, **settings}), {"artifact": checked, "reference": reference}, result)
    for path in result.iterdir():
        path.chmod(0o644)
    (result / "artifact.json").write_text(json.dumps(checked.record))
    signed(result)
    return result


@pytest.fixture
def whole(graph, reference, tmp_path):
    return make(graph, reference, tmp_path)


def gpu_host(folder: Path) -> Path:
    """A place to import from that has numpy, and what the double reads and runs graphs by."""
    place = device(folder, "numpy", "onnx", "onnxruntime", "ml_dtypes")
    for name in ("google", "typing_extensions.py"):
        (place / name).symlink_to(Path(onnx.__file__).parents[1] / name)
    return place


def build(bundle, *arguments, acts=None, gpu=True, tensorrt=True, path=""):
    """Runs the script where TensorRT's double is, and CUDA's, and nothing of ours."""
    place = gpu_host(Path(tempfile.mkdtemp(dir=bundle.parent)) / "host")
    for name, there in (("tensorrt.py", tensorrt), ("cuda", gpu)):
        if there:
            (place / name).symlink_to(DOUBLES / name)
    script = bundle / "build.py"
    code = f"import runpy, sys; sys.path.insert(0, {str(place)!r}); sys.argv[0] = {str(script)!r}; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    env = {**os.environ, "TENSORRT_DOUBLE": json.dumps(acts or {}), "PATH": f"{path}:{os.environ['PATH']}"}
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=100)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_it_builds_checks_times_and_writes_the_card(whole):
    done = build(whole, "--runs", "2")
    assert (done.returncode, done.stderr) == (OK, "")
    rows = re.findall(r"^(\w+)  (\w+) +(\d\.\de-\d\d)  \d\.\de-\d\d  1\.000000", done.stdout, re.M)
    shapes = {"example": "2x3x32x32", "min": "1x3x32x32", "odd": "3x3x32x32", "max": "8x3x32x32"}
    assert {label: shape for label, shape, _ in rows} == shapes
    assert done.stdout.endswith("passed    it agrees with the PyTorch model at 4 shapes\n")
    card = json.loads((whole / "net.json").read_text())
    assert card["plan"]["profiles"] == [{"input": [[1, 3, 32, 32], [2, 3, 32, 32], [8, 3, 32, 32]]}]
    assert (card["host"]["tensorrt"], card["host"]["compute_capability"]) == ("11.4.0.106", "9.0")
    assert {*card["checked"]["latency_ms"]} == {*card["checked"]["worst"]} == {f"{b}x3x32x32" for b in (1, 2, 3, 8)}
    assert max(card["checked"]["worst"].values()) < 1e-4


def test_it_builds_with_an_older_release_too(whole):
    assert build(whole, "--runs", "0", acts={"version": "10.13.3.9"}).returncode == OK


def test_an_engine_that_is_to_tell_nothing_of_its_layers_is_built_and_compared_all_the_same(graph, reference, tmp_path):
    done = build(make(graph, reference, tmp_path, verbosity="none"), "--runs", "0")
    assert (done.returncode, done.stderr) == (OK, "")
    assert "layers    not told" in done.stdout


def test_an_interrupted_check_leaves_no_engine_behind(whole, monkeypatch):
    def interrupted(path, *rest):
        assert path.is_file()
        raise KeyboardInterrupt

    Host(whole.parent, monkeypatch)
    monkeypatch.setattr(build_script, "_checked", interrupted)
    assert build_script.main([], whole) == INTERRUPTED
    assert {p.name for p in whole.iterdir()} & {"net.engine", "net.json"} == set()
    gpu.describe.cache_clear()


def test_a_host_with_a_release_that_it_is_not_for_is_told_which_to_install(graph, reference, tmp_path):
    done = build(make(graph, reference, tmp_path, releases=["10"]))
    assert (done.returncode, "pip install 'tensorrt-cu13==10.*'" in done.stderr) == (BACKEND_MISSING, True)


@pytest.fixture(scope="module")
def lowered(graph, reference, tmp_path_factory):
    """The graph in fewer bits: its check's tolerance, what it computes in there, and the type that layers must give."""
    backend("nncf")
    folder = tmp_path_factory.mktemp("lowered")
    samples = run_stage(DrawSamples({"source": "random"}, 8, None, 0), reference, folder / "samples")
    return {
        "fp16": (run_stage(CastFp16(NOTHING_IGNORED, []), graph, folder / "fp16"), "float16", "float16"),
        "int8": (quantized(graph, samples, folder / "int8", symmetric=True), "float32", "int8"),
    }


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_precision_is_in_the_graph_and_audited_in_the_engine(precision, lowered, reference, tmp_path):
    artifact, compute, dtype = lowered[precision]
    whole = make(artifact, reference, tmp_path, precision, compute)
    assert json.loads((whole / "manifest.json").read_text())["plan"]["types"] == [dtype]
    done = build(whole, "--runs", "0")
    assert (done.returncode, done.stderr) == (OK, "")
    wrong = build(whole, "--runs", "0", acts={"layers": "Float"})
    assert wrong.returncode == CHECK_FAILED
    assert f"no layer of the engine has {dtype}, which was asked for" in wrong.stderr
    assert not (whole / "net.engine").exists(), "a wrong engine is not left for anybody to take"


def test_a_bfloat16_graph_asks_for_bfloat16(reference, graph, tmp_path):
    from stages.onnx.cast_bf16 import CastBf16

    ignored = replace(NOTHING_IGNORED, types=["Conv"])  # at opset 18
    lowered_graph = run_stage(CastBf16(ignored), graph, tmp_path / "bf16")
    whole = make(lowered_graph, reference, tmp_path, "bf16", "bfloat16")
    assert json.loads((whole / "manifest.json").read_text())["plan"]["types"] == ["bfloat16"]


def change_graph(bundle):
    model = onnx.load(bundle / "net.onnx")
    weight = next(i for i in model.graph.initializer if i.name == "head.bias")
    weight.raw_data = bytes(len(weight.raw_data) - 4) + b"\0\0\x80?"
    onnx.save(model, bundle / "net.onnx")


DAMAGE = {
    "graph": lambda bundle: flip(bundle / "net.onnx"),
    "reference": lambda bundle: change_answer(bundle / "reference.npz"),
    "manifest": lambda bundle: (bundle / "manifest.json").open("a").write("\n"),
    "script": lambda bundle: (bundle / "build.py").open("a").write("\n"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_the_one_handed_over_is_named_and_nothing_is_built(whole, damage):
    before = harness.contents(whole)
    DAMAGE[damage](whole)
    (changed,) = [n for n, digest in before.items() if harness.contents(whole).get(n) != digest]
    done = build(whole)
    assert done.returncode == CHECK_FAILED
    assert f"  {changed} is not what was delivered" in done.stderr
    assert not (whole / "net.engine").exists()


@pytest.mark.parametrize("damage", [change_graph, DAMAGE["reference"]], ids=["graph", "reference"])
def test_an_engine_that_answers_wrongly_fails_at_its_shapes_and_is_removed(whole, damage):
    damage(whole)
    signed(whole)
    done = build(whole, "--runs", "0")
    assert done.returncode == CHECK_FAILED
    assert re.search(r"^  odd \(3x3x32x32\): output 'logits' max_rel", done.stderr, re.M)
    assert {p.name for p in whole.iterdir()} & {"net.engine", "net.json"} == set()


CANNOT = {
    "no TensorRT": ({"tensorrt": False}, BACKEND_MISSING, "tensorrt cannot be imported"),
    "no GPU": ({"gpu": False}, BACKEND_MISSING, "there is no NVIDIA GPU that can be used"),
    "no GPU that TensorRT finds": ({"acts": {"init": "no GPU"}}, BACKEND_MISSING, "CUDA initialization failure"),
    "an older release": ({"acts": {"version": "10.9.0.34"}}, BACKEND_MISSING, "this host has TensorRT 10.9.0.34"),
    "another release": ({"acts": {"version": "12.0.1"}}, BACKEND_MISSING, "10.13 and later, of 10.x, 11.x"),
    "a node that the parser refuses": (
        {"acts": {"parse": [["Gemm", "head", "no such Gemm"]]}},
        STAGE_FAILED,
        "Gemm 'head' (node 3): no such Gemm",
    ),
    "a build that fails": ({"acts": {"build": "fails"}}, STAGE_FAILED, "Could not find any implementation"),
    "a profile that is refused": ({"acts": {"profile": "refused"}}, STAGE_FAILED, "profile 0"),
    "a flag that does not hold": (
        {"acts": {"ignores": "VERSION_COMPATIBLE"}, "version_compatible": True},
        CHECK_FAILED,
        "VERSION_COMPATIBLE was set to True",
    ),
    "an inference that fails": ({"acts": {"execute": "fails"}}, STAGE_FAILED, "refuses the inference"),
}


@pytest.mark.parametrize("what", CANNOT)
def test_what_cannot_be_is_explained_with_an_exit_code_of_ours(what, graph, reference, tmp_path):
    how, code, says = CANNOT[what]
    settings = {n: v for n, v in how.items() if n == "version_compatible"}
    whole = make(graph, reference, tmp_path, **settings)
    done = build(whole, "--runs", "0", **{n: v for n, v in how.items() if n not in settings})
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("arguments", [["--with", "polygraphy"], ["--runs", "-1"], ["net.onnx"]])
def test_a_wrong_flag_is_wrong_usage(whole, arguments):
    done = build(whole, *arguments)
    assert (done.returncode, "usage: build.py" in done.stderr) == (USAGE, True)


TRTEXEC = """\
#!{python}
import sys
sys.path.insert(0, {place!r})
open({log!r}, "w").write("\\n".join(sys.argv[1:]))
told = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)
import tensorrt as trt
logger = trt.ILogger()
logger.log = lambda severity, message: None
builder = trt.Builder(logger)
network = builder.create_network(1)
trt.OnnxParser(network, logger).parse_from_file(told["onnx"])
config = builder.create_builder_config()
config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.NONE
config.progress_monitor = type("M", (), {{"__getattr__": lambda s, n: lambda *a: True}})()
profile = builder.create_optimization_profile()
sizes = [[int(n) for n in told[k].partition(":")[2].split("x")] for k in ("minShapes", "optShapes", "maxShapes")]
profile.set_shape("input", *sizes)
config.add_optimization_profile(profile)
open(told["saveEngine"], "wb").write(bytes(builder.build_serialized_network(network, config)))
"""


def trtexec(bundle, text=None) -> str:
    folder = bundle.parent / "bin"
    folder.mkdir()
    place = gpu_host(bundle.parent / "trtexec")
    (place / "tensorrt.py").symlink_to(DOUBLES / "tensorrt.py")
    log = str(bundle.parent / "asked.txt")
    (folder / "trtexec").write_text(text or TRTEXEC.format(python=f"{sys.executable} -S", place=str(place), log=log))
    (folder / "trtexec").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(("version", "typed"), [("10.13.3.9", True), ("11.4.0.106", False)])
def test_trtexec_builds_it_with_the_flags_of_its_release_and_the_python_api_checks_it(whole, version, typed):
    done = build(whole, "--with", "trtexec", "--runs", "0", path=trtexec(whole), acts={"version": version})
    assert (done.returncode, done.stderr) == (OK, "")
    arguments = (whole.parent / "asked.txt").read_text().splitlines()
    assert ("--stronglyTyped" in arguments) == typed
    assert {"--minShapes=input:1x3x32x32", "--maxShapes=input:8x3x32x32", "--noTF32", "--skipInference"} <= {*arguments}
    assert not [a for a in arguments if a in ("--fp16", "--int8", "--bf16", "--best")]


def test_trtexec_keeps_what_it_measures_in_a_file_of_the_gpu_and_the_version(whole):
    folder = whole.parent / "timing"
    arguments = ("--with", "trtexec", "--runs", "0", "--timing-cache", str(folder))
    assert build(whole, *arguments, path=trtexec(whole)).returncode == OK
    (cache,) = re.findall(r"^--timingCacheFile=(.+)$", (whole.parent / "asked.txt").read_text(), re.M)
    assert re.fullmatch(rf"{folder}/NVIDIA_H100.*-sm9\.0-.*-11\.4\.0\.106-.*\.timing", cache)
    assert folder.is_dir(), "trtexec makes none"


def test_a_trtexec_that_fails_or_is_not_there_is_told(whole):
    assert build(whole, "--with", "trtexec", "--trtexec", "/nowhere/trtexec").returncode == BACKEND_MISSING
    failing = trtexec(whole, "#!/bin/sh\necho '[E] Could not open file' >&2\nexit 1\n")
    done = build(whole, "--with", "trtexec", path=failing)
    assert (done.returncode, "Could not open file" in done.stderr) == (STAGE_FAILED, True)


def test_an_earlier_engine_is_not_taken_for_the_one_that_trtexec_did_not_write(whole):
    assert build(whole, "--runs", "0").returncode == OK
    done = build(whole, "--with", "trtexec", path=trtexec(whole, "#!/bin/sh\nexit 0\n"))
    assert (done.returncode, "ended with 0 and no engine" in done.stderr) == (STAGE_FAILED, True)


def test_several_profiles_are_told_in_the_manifest_and_only_python_builds_them(graph, reference, tmp_path):
    whole = make(graph, reference, tmp_path, profiles=[{"batch": [1, 1, 1]}, {"batch": [2, 4, 8]}])
    assert build(whole, "--runs", "0").returncode == OK
    profiles = json.loads((whole / "net.json").read_text())["plan"]["profiles"]
    assert [[span[0] for span in profile["input"]] for profile in profiles] == [[1, 1, 1], [2, 4, 8]]
    refused = build(whole, "--with", "trtexec")
    assert (refused.returncode, "one profile of shapes" in refused.stderr) == (STAGE_FAILED, True)


def test_weights_that_were_stripped_come_from_the_graph_beside_the_engine(graph, reference, tmp_path):
    assert build(make(graph, reference, tmp_path, strip_weights=True), "--runs", "0").returncode == OK


def test_the_script_is_one_file_that_imports_nothing_of_ours_and_defines_nothing_twice():
    text = bundles.script("tensorrt.host.build_script")
    tree = ast.parse(text, feature_version=(3, 11))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {n.module if isinstance(n, ast.ImportFrom) else a.name for n in imports for a in n.names}
    allowed = {*sys.stdlib_module_names, "numpy", "tensorrt", "torch", "cuda"}
    assert {n.partition(".")[0] for n in names} <= allowed
    defined = collections.Counter(n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef))
    defined.update(t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name))
    assert [name for name, count in defined.items() if count > 1] == []


def test_the_readme_says_how_to_build_it_and_that_no_gpu_has_seen_it(whole):
    text = (whole / "README.md").read_text()
    for part in ("python build.py --with trtexec", "`net.engine`", "Nobody has run it on a GPU", "max_rel 0.0001"):
        assert part in text


def test_a_graph_that_no_check_vouches_for_is_not_bundled(graph, reference, tmp_path):
    with pytest.raises(StageError, match="no check of it is on record"):
        run_stage(BundleTensorrt(**AS_IT_SHIPS), {"artifact": graph, "reference": reference}, tmp_path / "bundle")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"releases": ["9"]}, "releases is ['9']"),
        ({"optimization_level": 6}, "optimization_level is 6"),
        ({"workspace_mib": 0}, "workspace_mib is 0"),
        ({"verbosity": "detail"}, "verbosity is detail, did you mean 'detailed'?"),
        ({"hardware_compatibility": "ampere"}, "hardware_compatibility is ampere"),
        ({"profiles": [{"batch": [8, 1, 1]}]}, "profiles has batch: [8, 1, 1]"),
    ],
)
def test_wrong_settings_are_told_before_any_work(settings, says):
    (problem,) = BundleTensorrt(**{**AS_IT_SHIPS, **settings}).problems()
    assert problem.what.startswith(says)
