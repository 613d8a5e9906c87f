"""The command line as a person or a script meets it: real runs of a small model in a folder of their own."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from command_line import FILES, MODEL, SHOP, Shop


def how(record: dict[str, object]) -> dict[str, str]:
    return {s["name"]: s["how"] for s in record["stages"]}  # type: ignore[attr-defined]


def digests(record: dict[str, object]) -> dict[str, str]:
    return {s["name"]: s["digest"] for s in record["stages"]}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that make a user's folder; copied for each test that writes."""
    import torch

    folder = tmp_path_factory.mktemp("shop")
    for path in SHOP.glob("*.py"):
        (folder / path.name).write_bytes(path.read_bytes())
    sys.path.insert(0, str(folder))
    try:
        from net import Net  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(0)
    state = Net().state_dict()
    torch.save(state, folder / "net.pth")
    torch.save({**state, "head.weight": state["head.weight"][:, :4], "extra": state["head.bias"]}, folder / "odd.pth")
    (folder / "cut.pth").write_bytes((folder / "net.pth").read_bytes()[:900])
    return folder


@pytest.fixture
def shop(furnished: Path, tmp_path: Path) -> Shop:
    for path in furnished.glob("*.p*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def warm(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A folder whose store holds a finished conversion; for tests that only look, or build beside it."""
    folder = tmp_path_factory.mktemp("warm")
    for path in furnished.glob("*.p*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "net.pth").chmod(0o444)
    shop = Shop(folder)
    conversion = shop.start(*MODEL)
    assert (conversion.communicate(timeout=300), conversion.returncode)[1] == 0
    return shop


def test_stdout_is_the_path_of_the_artifact_and_nothing_else(warm: Shop) -> None:
    done = warm.run(*MODEL)
    (line,) = done.stdout.splitlines()
    assert Path(line).name == "custom.xml"
    assert Path(line).is_file()
    assert Path(line).with_suffix(".bin").is_file()


def test_a_second_run_builds_nothing(warm: Shop) -> None:
    assert set(how(warm.converted()).values()) == {"hit", "delivered"}


def test_a_warm_run_a_plan_and_help_import_no_framework_and_no_converter(warm: Shop) -> None:
    listing = (
        "import sys; from pipeline.cli import main; code = main();"
        "heavy = {'torch', 'torchvision', 'numpy', 'onnx', 'onnxruntime', 'onnxsim', 'onnxscript', 'openvino'};"
        "print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    for args in (MODEL, (*MODEL, "plan=true"), ("--cfg", "job")):
        done = subprocess.run(
            [sys.executable, "-c", listing, f"store={warm.store}", *args],
            cwd=warm.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr.splitlines()[-1] == "0 []", done.stderr


@pytest.mark.parametrize(
    ("overrides", "hits"),
    [
        (["target=onnx"], ["reference", "capture", "export", "check_export", "simplify", "check_simplify"]),
        (["precision=fp16"], ["reference", "capture", "export", "check_export", "simplify", "check_simplify"]),
        (["~stages.simplify"], ["reference", "capture", "export", "check_export", "compile", "check_compile"]),
        (["stages.check_compile.tolerance.max_rel=0.5"], ["compile", "check_simplify"]),
        (["output=elsewhere", "model.name=other"], ["compile", "check_compile"]),
    ],
    ids=lambda v: " ".join(v) if (v and "=" in v[0]) or v[0][0] == "~" else "",
)
def test_a_change_rebuilds_only_what_it_decides(warm: Shop, overrides: list[str], hits: list[str]) -> None:
    became = how(warm.converted(*overrides))
    assert {n for n in hits if became[n] != "hit"} == set()


def test_the_plan_says_hit_or_why_not_and_builds_nothing(warm: Shop) -> None:
    done = warm.run(*MODEL, "plan=true", "opset=20")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert " hit " in rows["capture"]
    assert "→ 20" in rows["export"]
    assert "waits for export" in rows["check_export"]
    became = how(warm.converted("opset=20"))
    assert [became[name] for name in ("reference", "capture", "export")] == ["hit", "hit", "built"]


def test_parity_is_recorded_at_every_shape(warm: Shop) -> None:
    record = warm.converted()
    (check,) = [s for s in record["stages"] if s["name"] == "check_compile"]  # type: ignore[attr-defined]
    parity = check["notes"]["parity"]
    assert parity["computes_in"] == "float32"
    drawn = [c["shape"] for c in parity["cases"] if c["family"] == "sizes"]
    assert drawn == [f"{n}x3x16x16" for n in (2, 1, 3, 8, 7)]
    assert all(c["max_rel"] < 1e-4 for c in parity["cases"])


def test_run_json_says_what_the_run_was_made_of(warm: Shop) -> None:
    record = warm.converted("seed=0")
    assert record["status"] == "ok"
    assert "seed=0" in record["overrides"]  # type: ignore[operator]
    assert record["config"]["model"]["factory"] == "net.Net"  # type: ignore[index]
    assert {"python", "torch", "onnx", "openvino", "hydra-core"} <= set(record["versions"])  # type: ignore[call-overload]
    assert record["machine"]["cpu"]  # type: ignore[index]


def test_a_checkout_with_changes_can_be_refused_and_is_recorded_by_their_digest(shop: Shop, warm: Shop) -> None:
    shop.store = warm.store
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null")
    for command in (["init", "-q"], ["add", "net.py"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=shop.folder, check=True)
    refused = shop.run(*MODEL, "target=onnx", "require_clean=true")
    assert refused.returncode == 2
    assert "the checkout has changes" in refused.stderr
    assert "net.pth" in refused.stderr
    assert len(shop.converted("target=onnx")["git"]["diff"]) == 64  # type: ignore[index]
    for command in (["add", "*.pth", "*.py"], [*who, "commit", "-q", "-m", "second"]):
        subprocess.run(["git", *command], cwd=shop.folder, check=True)
    record = shop.converted("target=onnx", "require_clean=true")
    assert record["git"]["dirty"] is False  # type: ignore[index]


@pytest.mark.slow
def test_weights_that_are_random_are_called_untrained_everywhere(warm: Shop) -> None:
    import openvino

    plan = warm.run(*MODEL, "model.weights=random", "plan=true").stdout
    done = warm.run(*MODEL, "model.weights=random")
    artifact = Path(done.stdout.strip())
    weights = openvino.Core().read_model(artifact).get_rt_info(["drydock", "weights"]).value
    sidecar, record = artifact.with_name("artifact.json").read_text(), (artifact.parent.parent / "run.json").read_text()
    for text in (plan, done.stderr, weights, sidecar, record):
        assert "UNTRAINED" in text
        assert "model.weights=/path/to/" in text


def test_another_frameworks_file_is_converted_without_it_and_called_not_checked(shop: Shop) -> None:
    shutil.copy(FILES / "frozen.pb", shop.folder / "net.pb")
    arguments = ["model=file", "model.path=net.pb", "+model.dims.image_dim0={min: 1, opt: 2, max: 8}"]
    hide = "import sys; sys.modules['tensorflow'] = None; from pipeline.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", hide, *arguments, f"store={shop.store}"],
        cwd=shop.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name == "file.xml"
    (parity,) = [line for line in done.stderr.splitlines() if line.startswith("parity ")]
    assert "NOT CHECKED against the frozen TensorFlow graph: tensorflow would run it, and is not installed" in parity
    (record,) = [line for line in done.stderr.splitlines() if line.startswith("record ")]
    stages = {s["name"]: s for s in json.loads(Path(record.split(maxsplit=1)[1]).read_text())["stages"]}
    assert "parity" not in stages["check_compile"]["notes"]
    assert "pip install tensorflow" in stages["check_compile"]["notes"]["unchecked"]["why"]


def test_a_users_checkpoint_is_never_written(furnished: Path, warm: Shop) -> None:
    assert (warm.folder / "net.pth").read_bytes() == (furnished / "net.pth").read_bytes()


def test_editing_the_delivered_copy_leaves_the_store_whole(warm: Shop) -> None:
    artifact = Path(warm.run(*MODEL, "output=edited").stdout.strip())
    artifact.write_text("mine now")
    assert "compile" in how(warm.converted())
    assert how(warm.converted())["compile"] == "hit"


WRONG = [
    (["keep=50GB"], 2, ["keep is 50GB", "50GiB"]),
    (["model=resnet5"], 2, ["model=resnet5", "'model=resnet50'", "python -m pipeline model=custom"]),
    (["target=openvin"], 2, ["target=openvin", "'target=openvino'"]),
    (["modle=resnet50"], 2, ["modle", "'model=resnet50'"]),
    (["+experimnt=x"], 2, ["experimnt", "'experiment'", "experiment=x"]),
    (["~stages.nope"], 2, ["stages.nope"]),
    (["stages.export.opsett=3"], 2, ["stages.export.opsett", "'stages.export.opset=3'"]),
    (["stages.export.opset=abc"], 2, ["stages.export.opset", "abc", "Integer"]),
    (["opset=abc"], 2, ["opset", "abc", "Integer"]),
    (
        ["target=onnx", "precision=palette4"],
        2,
        ["precision=palette4 does not go with target=onnx", "fp16, fp32", "target=coreml precision=palette4"],
    ),
    (["ir=fp16"], 2, ["ir is wiring that target=openvino chooses by precision", "precision=fp16"]),
    (["source=file"], 2, ["source is wiring that the model decides", "model=file"]),
    (["also=benchmark", "stages.benchmark.rounds=1"], 2, ["stages.benchmark.rounds is 1", "2 or more"]),
    (["opset=17", "capture=export"], 2, ["stages.export.opset is 17", "18 to 26", "capture=trace"]),
    (["also=pruned"], 2, ["also=pruned does not go with target=openvino", "target=coreml"]),
    (["also=multifunction", "target=onnx"], 2, ["also=multifunction does not go with target=onnx", "target=coreml"]),
    (["also=raw_images"], 2, ["also=raw_images is also=image now"]),
    (["opset=99"], 2, ["stages.capture.opset is 99", "7 to 26"]),
    (["opset=24", "capture=trace"], 2, ["stages.export.opset is 24", "7 to 23", "capture=export"]),
    (["model.weights=none.pth"], 2, ["none.pth", "No such file", "model.weights=/path"]),
    (["model.weights=pretrained"], 2, ["pretrained", "net.Net"]),
    (["+model.kwargs={labels: {1: a}}"], 2, ["stages.load: settings.kwargs.labels: key 1 is int"]),
    (["model.sha256=" + "0" * 64], 2, ["SHA-256", "model.sha256="]),
    (["model.factory=net.Nett"], 2, ["net.Nett", "'Net'"]),
    (["model.factory=nowhere.Net"], 2, ["nowhere", "PYTHONPATH"]),
    (["model.factory=net.no_module"], 2, ["net.no_module", "torch.nn.Module"]),
    (["model.inputs.input.shape=[bach,3,16,16]"], 2, ["'bach'", "'batch'"]),
    (["stages.export.needs=[check_export]"], 2, ["stages.check_export", "cycle"]),
    (
        ["stages.capture.needs=[simplify]", "stages.simplify.needs=[capture]"],
        2,
        ["cycle: capture → simplify → capture"],
    ),
    (["stages.export.needs=[captur]"], 2, ["'captur'", "'capture'"]),
    (
        ["stages.compile.needs=[reference]"],
        2,
        ["stages.compile.needs", "makes reference", "takes exported or file or onnx"],
    ),
    (["route=direct", "opset=17"], 2, ["route=direct does not go with opset=17", "route=onnx"]),
    (
        ["target=openvino_direct", "route=onnx"],
        2,
        ["target=openvino_direct does not go with route=onnx", "target=openvino route=onnx"],
    ),
    (["route=direct", "stages.compile.edits.images=true"], 2, ["edits.images is True", "null, or a mapping"]),
    (["~stages.capture"], 2, ["stages.export takes exported"]),
    (["+stages.x={_target_: os.system}"], 2, ["os.system", "DRYDOCK_TRUST"]),
    (["output=net.pth"], 2, ["output=", "is a file"]),
    (["output=net.pth/below"], 2, ["output=", "cannot be written"]),
    (["store=net.pth/below"], 2, ["store=", "cannot be written", "DRYDOCK_STORE"]),
    (["opset=18,20"], 2, ["opset=18,20", "-m"]),
    (["select=min size"], 2, ["select=min size", "-m"]),
    (["seed=-1"], 2, ["seed is -1", "0 or more"]),
    (["stages.check_compile.tolerance.max_rel=nan"], 2, ["tolerance.max_rel is nan", "from 0"]),
    (["stages.check_compile.tolerance.cosine=2"], 2, ["tolerance.cosine is 2", "-1 to 1"]),
    (["model=torchvision"], 2, ["model.name has no value", "model.name=VALUE"]),
    (["hydra.run.dir=/proc/nope"], 2, ["the run folder /proc/nope cannot be written", "hydra.run.dir="]),
    (["output=store/objects/mine"], 2, ["lies in the store"]),
    (["model.weights=cut.pth"], 3, ["load", "cut.pth", "900 bytes"]),
    (["model.weights=odd.pth"], 3, ["load", "extra", "head.weight is (10, 4) in the file"]),
    (["model.weights=evil.pth"], 3, ["evil.pth was refused", "run code"]),
    (["model.inputs.input.shape=[batch,4,16,16]"], 3, ["reference", "2x4x16x16", "model.inputs"]),
    (["model.outputs=[a,b]"], 3, ["names 2 (a, b), the model returns 1"]),
    (["stages.check_export.tolerance.max_rel=0"], 5, ["check_export", "max_rel"]),
]


# What a test of the room that refuses it has too, and something like it is here.
ELSEWHERE = {
    "opset=99",
    "seed=-1",
    "also=raw_images",
    "route=direct opset=17",
    "stages.check_compile.tolerance.cosine=2",
    "+experimnt=x",
    "stages.export.opsett=3",
    "target=onnx precision=palette4",
    "ir=fp16",
    "also=benchmark stages.benchmark.rounds=1",
    "opset=17 capture=export",
    "also=multifunction target=onnx",
    "+model.kwargs={labels: {1: a}}",
    "model.inputs.input.shape=[bach,3,16,16]",
    "+stages.x={_target_: os.system}",
    "output=store/objects/mine",
    "target=openvin",
    "stages.export.opset=abc",
    "source=file",
    "opset=24 capture=trace",
    "model.factory=nowhere.Net",
    "model.factory=net.no_module",
    "stages.capture.needs=[simplify] stages.simplify.needs=[capture]",
    "stages.export.needs=[captur]",
    "~stages.capture",
    "output=net.pth/below",
    "stages.check_compile.tolerance.max_rel=nan",
    "model.weights=odd.pth",
    "model.outputs=[a,b]",
}
BAD_INPUT = {" ".join(overrides): (overrides, code, messages) for overrides, code, messages in WRONG}


@pytest.mark.parametrize(
    ("overrides", "code", "messages"),
    [pytest.param(*row, id=case, marks=[pytest.mark.slow] * (case in ELSEWHERE)) for case, row in BAD_INPUT.items()],
)
def test_bad_input_ends_with_place_value_and_what_to_type(
    warm: Shop, overrides: list[str], code: int, messages: list[str]
) -> None:
    (warm.folder / "evil.pth").write_bytes(evil_pickle())
    before = {*warm.folder.glob("runs/*/*")}
    done = warm.run(*MODEL, *overrides)
    assert (done.returncode, done.stdout) == (code, "")
    assert [t for t in messages if t not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr
    has_folder = {*warm.folder.glob("runs/*/*")} != before
    assert has_folder is ("log: " in done.stderr)
    found_by_stage = overrides[0] in ("model.factory=net.Nett", "model.factory=net.no_module")
    assert has_folder is (code != 2 or found_by_stage)
    assert not (warm.folder / "evil-was-here").exists()
    assert list((warm.store / "staging").iterdir()) == []


def test_a_sweep_over_wiring_is_refused_before_it_has_a_folder(warm: Shop) -> None:
    done = warm.run("-m", *MODEL, "+wiring/ir=fp16,fp32", "hydra.sweep.dir=swept-wiring")
    assert done.returncode == 2
    assert "precision=fp16,fp32" in done.stderr
    assert not (warm.folder / "swept-wiring").exists()
    done = warm.run("-m", *MODEL, "target=nope,nopee", "hydra.sweep.dir=swept-nothing")
    assert (done.returncode, (warm.folder / "swept-nothing").exists()) == (2, False)


def evil_pickle() -> bytes:
    """A checkpoint that creates a file when it is unpickled."""
    import io

    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (Path("evil-was-here"),)

    written = io.BytesIO()
    torch.save({"head.weight": Evil()}, written)
    return written.getvalue()


def test_a_full_traceback_is_in_the_log_and_none_on_the_screen(warm: Shop) -> None:
    done = warm.run(*MODEL, "model.weights=cut.pth")
    log = Path(done.stderr.rsplit("log: ", 1)[1].strip()).read_text()
    assert "Traceback" in log
    assert "central directory" in log


def test_a_backend_that_is_not_installed_ends_with_4_and_the_install_line(warm: Shop) -> None:
    hide = "import sys, importlib.util as u; find = u.find_spec;"
    hide += "u.find_spec = lambda n, *a: None if n == 'openvino' else find(n, *a);"
    done = subprocess.run(
        [sys.executable, "-c", f"{hide} from pipeline.cli import main; sys.exit(main())", *MODEL],
        cwd=warm.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "pip install 'torch-drydock[openvino]'" in done.stderr


@pytest.mark.parametrize(
    ("net", "how", "message"),
    [
        # Directly OpenVINO puts the batch back, and rightly.
        (
            "Frozen",
            "capture=trace route=onnx",
            "export: model.dims.batch: captured at 2, the module cannot be run at 8",
        ),
        ("Doubled", "capture=export", "capture: model.dims.batch cannot be dynamic"),
    ],
)
def test_a_frozen_batch_axis_fails_and_names_the_stage(warm: Shop, net: str, how: str, message: str) -> None:
    done = warm.run(*MODEL, f"model.factory=net.{net}", *how.split())
    assert (done.returncode, done.stdout) == (5, "")
    assert message in done.stderr


def test_the_check_is_real_when_one_weight_changes_on_the_way(warm: Shop) -> None:
    conf = warm.folder / "conf" / "stage"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "tamper.yaml").write_text("_target_: tamper.Tamper\nneeds: [check_simplify]\n")
    with pytest.MonkeyPatch.context() as env:
        env.setenv("DRYDOCK_TRUST", "tamper.*")
        done = warm.run(*MODEL, "+stage@stages.tamper=tamper", "stages.compile.needs=[tamper]")
    assert (done.returncode, done.stdout) == (5, "")
    assert "check_compile: this openvino does not agree" in done.stderr


@pytest.mark.slow  # pipeline/running/test_runner_damage
def test_damage_to_any_stored_artifact_is_found_set_aside_and_repaired(warm: Shop) -> None:
    sound = warm.converted()
    objects = sorted({p for p in (warm.store / "objects").glob("*/*/*") if p.name != "artifact.json"})
    mine = [p for p in objects if p.parent.name in digests(sound).values()]
    assert len(mine) >= 5
    for number, path in enumerate(mine):  # every other one has a bit flipped or is cut
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content[: -1 if number % 2 else None])
    repaired = warm.run(*MODEL)
    assert repaired.returncode == 0, repaired.stderr
    assert "is damaged: set aside" in repaired.stderr
    after = warm.converted()
    assert digests(after)["save"] == digests(sound)["save"]
    assert how(after)["compile"] == "hit"


@pytest.mark.slow  # pipeline/running/test_runner_processes
def test_two_runs_at_once_build_each_stage_once(shop: Shop) -> None:
    runs = [shop.start(*MODEL, f"output=out{i}") for i in range(2)]
    ended = [r.communicate(timeout=300) for r in runs]
    assert [r.returncode for r in runs] == [0, 0], ended
    records = [json.loads(p.read_text()) for p in shop.folder.glob("runs/*/*/run.json")]
    built = [s["name"] for r in records for s in r["stages"] if s["how"] == "built"]
    assert sorted(built) == sorted(set(built))
    assert len({digests(r)["save"] for r in records}) == 1


@pytest.mark.parametrize(
    "sent",
    [signal.SIGINT, *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGTERM, signal.SIGHUP))],
    ids=lambda s: s.name,
)
def test_ctrl_c_ends_with_130_and_leaves_nothing_half_written(shop: Shop, sent: signal.Signals) -> None:
    args = [a.replace("net.Net", "net.Sleeper") for a in MODEL]
    run = shop.start(*args, "output=out")
    assert run.stderr is not None
    while "asleep" not in (line := run.stderr.readline()):
        assert line, "the run ended before it could be interrupted"
    run.send_signal(sent)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert list((shop.store / "staging").iterdir()) == []
    assert not (shop.folder / "out").exists()
    (record,) = [json.loads(p.read_text()) for p in shop.folder.glob("runs/*/*/run.json")]
    assert record["status"] == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("moments", [2, 12])
def test_a_run_killed_at_several_moments_goes_on_from_the_last_finished_stage(
    shop: Shop, warm: Shop, moments: int
) -> None:
    undisturbed = json.loads(min(warm.folder.glob("runs/*/*/run.json")).read_text())  # the first, which built it all
    began, ended = (datetime.fromisoformat(undisturbed[moment]) for moment in ("started", "ended"))
    output = ""
    for moment in range(moments):
        run = shop.start(*MODEL)
        time.sleep((ended - began).total_seconds() * (moment + random.random()) / moments)
        run.kill()
        output += run.communicate()[1]
    resumed = shop.run(*MODEL)
    built = [line.split()[0] for line in (output + resumed.stderr).splitlines() if " built " in line]
    stored = [name for name in built if name not in ("load", "eval")]
    assert sorted(stored) == sorted(set(stored))
    assert digests(shop.converted())["save"] == digests(undisturbed)["save"]
    assert list((shop.store / "staging").iterdir()) == []


def test_a_sweep_converts_every_combination_and_ends_with_6_when_one_fails(warm: Shop) -> None:
    done = warm.run("-m", *MODEL, "target=onnx", "opset=18,99")
    assert done.returncode == 6
    assert len(done.stdout.splitlines()) == 1
    assert "stages.capture.opset is 99" in done.stderr


@pytest.mark.slow  # pipeline/running/test_isolation
def test_a_crash_in_a_native_compiler_ends_one_job_of_a_sweep(shop: Shop, warm: Shop) -> None:
    shop.store = warm.store
    (shop.folder / "conf" / "stage").mkdir(parents=True)
    (shop.folder / "conf" / "stage" / "brittle.yaml").write_text("_target_: brittle.Brittle\nneeds: [export]\n")
    with pytest.MonkeyPatch.context() as env:
        env.setenv("DRYDOCK_TRUST", "brittle.*")
        mounted = ("+stage@stages.brittle=brittle", "stages.save.needs=[brittle]", "hydra.sweep.dir=swept")
        done = shop.run("-m", *MODEL, "target=onnx", "capture=export", "opset=18,19,20", *mounted)
    assert done.returncode == 6, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "error: brittle: its process died of SIGSEGV" in done.stderr
    logs = sorted((shop.folder / "swept").glob("*/pipeline.log"))
    crash, others = logs[1].read_text(), logs[0].read_text() + logs[2].read_text()
    assert "brittle.py" in crash.partition("Fatal Python error")[2]
    assert "Fatal" not in others
    # One process for the first two jobs, a new one for the crash's second try, and one for the third job.
    numbers = [set(re.findall(r"runs in process (\d+)", log.read_text())) for log in logs]
    assert [len(n) for n in numbers] == [1, 2, 1]
    assert len(set.union(*numbers)) == 3


def test_help_shows_examples_the_first_choices_first_and_the_other_commands(warm: Shop) -> None:
    done = warm.run("--help")
    assert done.returncode == 0, done.stderr
    others = [f"python -m pipeline.{name} " for name in ("doctor", "pin", "reproduce", "inspect", "report")]
    for text in ("python -m pipeline model=resnet50 target=openvino", "vit_b_16", "Exit codes", *others):
        assert text in done.stdout
    groups = re.findall(r"^  (\w+)=  ", done.stdout, re.MULTILINE)
    assert " ".join(groups) == "model target precision also route capture experiment sweep"
    assert len(done.stdout.splitlines()) < 70
    assert max(map(len, done.stdout.splitlines())) <= 90


@pytest.mark.slow  # test_conf compares the graphs
def test_what_is_done_besides_changes_nothing_that_is_delivered_and_is_kept(warm: Shop) -> None:
    beside = ["also=[benchmark,torch_compile]", "stages.benchmark.seconds=0.05", "stages.benchmark.rounds=2"]
    plain, measured, again = warm.converted(), warm.converted(*beside), warm.converted(*beside)
    assert digests(measured)["save"] == digests(plain)["save"]
    assert [how(measured)[name] for name in ("compile", "benchmark", "check_torch_compile")] == [
        "hit",
        "built",
        "built",
    ]
    assert {how(again)[name] for name in ("benchmark", "check_torch_compile")} == {"hit"}
    (notes,) = [s["notes"] for s in again["stages"] if s["name"] == "benchmark"]  # type: ignore[attr-defined]
    assert set(notes["benchmark"]["contenders"]) == {"openvino", "eager", "torch_compile"}


def test_a_core_ml_package_is_delivered(warm: Shop) -> None:
    record = warm.converted("target=coreml", "capture=trace")
    assert Path(str(record["artifact"])).name == "custom.mlpackage"
    (check,) = [s for s in record["stages"] if s["name"] == "check_compile"]  # type: ignore[attr-defined]
    assert [c["label"] for c in check["notes"]["parity"]["cases"]][:4] == ["example", "min", "odd", "max"]


def test_a_users_own_conf_folder_adds_choices(warm: Shop) -> None:
    models = warm.folder / "conf" / "model"
    models.mkdir(parents=True, exist_ok=True)
    text = "name: mine\nfactory: net.Net\nweights: net.pth\ndims: {batch: {min: 1, opt: 2, max: 8}}\n"
    (models / "mine.yaml").write_text(text + "inputs: {input: {shape: [batch, 3, 16, 16]}}\n")
    done = warm.run("model=mine", "target=onnx")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name == "mine.onnx"


def test_a_sweep_with_one_output_for_all_jobs_is_refused_after_the_first(warm: Shop) -> None:
    done = warm.run("-m", *MODEL, "target=onnx", "opset=18,20", "output=same")
    assert done.returncode == 6
    assert len(done.stdout.splitlines()) == 1
    assert "output=" in done.stderr
    assert "the same for several jobs" in done.stderr


def test_a_stage_whose_result_nothing_uses_is_told(warm: Shop) -> None:
    done = warm.run(*MODEL, "target=onnx", "+stage@stages.more=simplify", "+tolerance@stages.more.tolerance=fp32")
    assert done.returncode == 0
    assert "stages.more: nothing uses what it makes" in done.stderr
    assert "stages.save.needs=[more]" in done.stderr


def test_needs_may_be_one_name(warm: Shop) -> None:
    done = warm.run(*MODEL, "target=onnx", "stages.save.needs=check_export", "plan=true")
    assert done.stdout.splitlines()[-1].split() == ["save", "deliver", "check_export"]


def endless(path: Path) -> None:
    """An ONNX graph whose loop goes round 2^62 times, in native code."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    inside = [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)]
    steps = [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["x"], ["x2"])]
    body = helper.make_graph(
        steps, "b", inside, [value("c2", TensorProto.BOOL, []), value("x2", TensorProto.FLOAT, None)]
    )
    often = [numpy_helper.from_array(np.array(2**62), "m"), numpy_helper.from_array(np.array(True), "t")]
    loop = helper.make_node("Loop", ["m", "t", "in"], ["out"], body=body)
    ends = [[value(name, TensorProto.FLOAT, [1, 3])] for name in ("in", "out")]
    graph = helper.make_graph([loop], "g", *ends, often)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.mark.slow  # pipeline/running/test_watchdog
@pytest.mark.parametrize(
    ("limit", "sent", "code", "status"),
    [("runner.timeout=8", None, 3, "failed"), ("runner.timeout=null", signal.SIGTERM, 130, "interrupted")],
)
def test_a_graph_that_never_ends_is_ended(shop: Shop, limit: str, sent: signal.Signals, code: int, status: str) -> None:
    endless(shop.folder / "loop.onnx")
    run = shop.start("model=onnx_file", "model.weights=loop.onnx", "target=onnx", limit)
    if sent:
        while not any(json.loads(p.read_text())["stage"] == "reference" for p in shop.folder.glob("runs/*/*/run.json")):
            time.sleep(0.2)
        time.sleep(2)  # for the graph to be begun
        run.send_signal(sent)
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (code, ""), err
    (record,) = [json.loads(p.read_text()) for p in shop.folder.glob("runs/*/*/run.json")]
    assert (record["status"], record["exit_code"]) == (status, code)
    assert not any((shop.store / "staging").iterdir())


@pytest.mark.slow  # pipeline/terminal/test_command
@pytest.mark.parametrize(("stream", "code"), [(">&-", 0), (">/dev/full", 2), ("2>/dev/full", 0), (">&- 2>&-", 0)])
def test_streams_that_are_closed_or_full_end_a_run_with_the_right_code(warm: Shop, stream: str, code: int) -> None:
    command = shlex.join([sys.executable, "-m", "pipeline", *MODEL, f"store={warm.store}"])
    done = subprocess.run(["bash", "-c", f"{command} {stream}"], cwd=warm.folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
