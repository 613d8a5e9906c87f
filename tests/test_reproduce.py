"""Pinning, making again, inspecting: as a team does with a conversion that it keeps in git."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import SHOP, run_module

from pipeline.store import Store

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENT = """\
# @package _global_
# The shop's net.
#   python -m pipeline experiment=small
defaults:
  - override /model: custom
  - override /target: onnx
  - override /precision: fp32
  - override /capture: export
opset: 18
seed: 0
model:
  name: small
  factory: net.Net
  weights: net.pth
  sha256: {sha256}
  inputs:
    input: {{shape: [batch, 3, 16, 16], dtype: float32, fill: uniform}}
  dims:
    batch: {{min: 1, opt: 2, max: 4}}
  outputs: [out]
"""


@dataclass
class Team:
    """A checkout with an experiment in it, and a store of its own."""

    folder: Path

    @property
    def experiment(self) -> Path:
        return self.folder / "conf" / "experiment" / "small.yaml"

    def lock(self) -> dict[str, object]:
        return dict(json.loads(self.experiment.with_name("small.lock.json").read_text()))

    def run(self, command: str, *args: str, path: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """A command in this folder; with `path` in a new interpreter, which imports from there first."""
        env = {**os.environ, "DRYDOCK_STORE": str(self.folder / "store"), **env}
        if path is None:
            return run_module(command, args, self.folder, env)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), env.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, "-m", command, *args],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


def write_weights(folder: Path, *, nudged: bool) -> None:
    """The net's weights, one of them another if `nudged`; and the experiment that names them."""
    import hashlib

    import torch

    sys.path.insert(0, str(SHOP))
    try:
        from net import Net  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(SHOP))
    torch.manual_seed(0)
    state = Net().state_dict()
    if nudged:
        state["head.bias"][0] += 0.125
    torch.save(state, folder / "net.pth")
    sha256 = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    (folder / "conf" / "experiment" / "small.yaml").write_text(EXPERIMENT.format(sha256=sha256))


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Team:
    folder = tmp_path_factory.mktemp("team")
    (folder / "conf" / "experiment").mkdir(parents=True)
    shutil.copy(SHOP / "net.py", folder)
    write_weights(folder, nudged=False)
    team = Team(folder)
    done = team.run("pipeline.pin", "experiment=small")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}/conf/experiment/small.lock.json\n"
    return team


@pytest.fixture
def team(pinned: Team, tmp_path: Path) -> Team:
    return Team(Path(shutil.copytree(pinned.folder, tmp_path / "team")))


@pytest.fixture(scope="module")
def delivered(pinned: Team) -> Path:
    """A run's folder."""
    done = pinned.run("pipeline", "experiment=small", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return pinned.folder / "run"


def test_a_lock_says_what_was_made_by_what_and_how_well(pinned: Team) -> None:
    lock = pinned.lock()
    record = lock["record"]
    stages = {s["name"]: s for s in record["stages"]}  # type: ignore[index]
    assert stages["export"]["settings"]["opset"] == 18
    assert len(stages["export"]["digest"]) == 64
    assert stages["load"]["settings"]["weights"] == "<file>"
    assert record["libraries"]["onnxsim"] == "0.8.1"  # type: ignore[index]
    assert [c["stage"] for c in record["checks"]] == ["check_export", "check_simplify", "audit"]  # type: ignore[index]
    assert set(lock["measured"]) == {"check_export", "check_simplify"}  # type: ignore[call-overload]
    assert {"stages/onnx/simplify.py", "stages/onnx/file.py"} < set(record["sources"])  # type: ignore[index]
    assert str(pinned.folder) not in json.dumps(lock)


@pytest.mark.slow
def test_pinning_again_changes_nothing(pinned: Team) -> None:
    before = pinned.lock()
    done = pinned.run("pipeline.pin", "experiment=small")
    assert done.returncode == 0
    # Though the store has them.
    assert {"reference", "capture", "export"} <= {*re.findall(r"^(\w+) +built ", done.stderr, re.MULTILINE)}
    assert pinned.lock() == before


def test_an_experiment_is_made_again_byte_for_byte(pinned: Team) -> None:
    done = pinned.run("pipeline.reproduce", "experiment=small")
    assert done.returncode == 0, done.stdout + done.stderr
    digest = pinned.lock()["record"]["digest"]  # type: ignore[index]
    assert done.stdout.endswith(f"experiment=small: identical, {digest}\n")


def another_version(team: Team) -> dict[str, str]:
    """The metadata of a onnxsim that is newer than the one that is installed: an environment that finds it first."""
    folder = team.folder / "elsewhere"
    (folder / "onnxsim-9.9.dist-info").mkdir(parents=True)
    (folder / "onnxsim-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxsim\nVersion: 9.9\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def another_tolerance(team: Team) -> None:
    with team.experiment.open("a") as f:
        f.write("stages: {check_simplify: {tolerance: {max_rel: 0.0002}}}\n")


def another_weight(team: Team) -> None:
    write_weights(team.folder, nudged=True)


def another_line(team: Team) -> Path:
    """A copy of the project in which exporters sign their graphs."""
    copy = team.folder / "project"
    for name in ("pipeline", "stages", "conf"):
        shutil.copytree(ROOT / name, copy / name)
    with (copy / "stages" / "onnx" / "file.py").open("a") as f:
        f.write(
            "_stamp = stamp\n\n\ndef stamp(model, facts):\n    model.doc_string = 'mine'\n    _stamp(model, facts)\n"
        )
    return copy


CHANGES = [
    (
        another_version,
        ["every result is the same, byte for byte", "simplify: library: onnxsim 0.8.1 → 9.9"],
        "between the two",
    ),
    pytest.param(
        another_tolerance,
        ["every result is the same, byte for byte", "check_simplify: settings: tolerance.max_rel: 0.0001 → 0.0002"],
        "differs first",
        marks=pytest.mark.slow,  # a setting is among what another weight changes
    ),
    (
        another_weight,
        [
            r"differs first: capture, by the settings of load",
            r"load: settings: sha256: \w{12}… → \w{12}…",
            r"between the two: worst relative error [1-9]",
        ],
        "library",
    ),
]


@pytest.mark.parametrize(("change", "named_parts", "not_told"), CHANGES, ids=lambda c: getattr(c, "__name__", ""))
def test_what_changed_is_named(change, named_parts: list[str], not_told: str, team: Team) -> None:  # type: ignore[no-untyped-def]
    done = team.run("pipeline.reproduce", "experiment=small", **(change(team) or {}))
    assert done.returncode == 5, done.stdout + done.stderr
    for text in named_parts:
        assert re.search(text, done.stdout), done.stdout
    assert not_told not in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_line_of_a_stages_code_is_named_with_its_file(team: Team) -> None:
    done = team.run("pipeline.reproduce", "experiment=small", path=another_line(team))
    assert done.returncode == 5, done.stdout + done.stderr
    assert "differs first: export, by the code of export\n" in done.stdout
    assert re.search(r"code: stages/onnx/file\.py, which is behind .*export", done.stdout), done.stdout
    assert "between the two: worst relative error 0.0e+00" in done.stdout
    assert "settings" not in done.stdout


def test_a_run_is_made_again_from_its_folder(pinned: Team, delivered: Path) -> None:
    done = pinned.run("pipeline.reproduce", str(delivered))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{delivered}: identical" in done.stdout


def test_a_run_of_ones_own_is_known_wherever_it_lies(pinned: Team, delivered: Path, tmp_path: Path) -> None:
    away = shutil.copy(delivered / "run.json", tmp_path / "run.json")
    done = pinned.run("pipeline.reproduce", str(away))
    assert done.returncode == 0, done.stdout + done.stderr


def forged(delivered: Path, folder: Path, canary: Path) -> Path:
    """A run's folder as somebody else may have sent it: its code runs a command."""
    run = json.loads((delivered / "run.json").read_text())
    load = next(s for s in run["record"]["stages"] if s["name"] == "load")
    load["settings"] |= {"factory": "os.system", "kwargs": {"command": f"touch {canary}"}}
    run["config"]["stages"]["load"] |= load["settings"]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run))
    return folder / "run.json"


def plain(path: Path, store: Path) -> None:
    """As it was sent."""


def with_a_store(path: Path, store: Path) -> None:
    """With a store that knows the run: both come from a download, and the run names the store as its own."""
    run = json.loads(path.read_text())
    run["config"]["store"] = str(path.parent / "store")
    path.write_text(json.dumps(run))
    Store(path.parent / "store").note_run(run)


def under_another_note(path: Path, store: Path) -> None:
    """With the note of a run of the user's own, which somebody has given this one's name."""
    (note,) = (store / "runs").glob("*.json")
    shutil.copy(note, Store(store)._run(json.loads(path.read_text())))


@pytest.mark.parametrize("sent", [plain, with_a_store, under_another_note], ids=lambda f: f.__name__)
def test_a_run_of_anybodys_runs_no_code_wherever_it_lies(sent, team: Team, delivered: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(delivered.parent / "store", team.folder / "store", dirs_exist_ok=True)
    canary = tmp_path / "canary"
    path = forged(delivered, team.folder / "downloads" / "theirs", canary)
    sent(path, team.folder / "store")
    done = team.run("pipeline.reproduce", str(path.parent), "stages.load.weights=net.pth")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "would import 'os.system' and may call it, which the record names" in done.stderr
    assert re.search(r"theirs/run\.json is not known as written by a run of yours", done.stderr), done.stderr
    assert not canary.exists()
    assert not path.with_name("store").joinpath("staging").exists() or sent is with_a_store


def test_a_lock_of_anybodys_names_an_experiment_and_no_other_yaml(team: Team, tmp_path: Path) -> None:
    """Hydra takes experiment=../../downloads/evil for a file, wherever it lies."""
    canary = tmp_path / "canary"
    evil = team.folder / "downloads" / "evil.yaml"
    evil.parent.mkdir()
    text = team.experiment.read_text().replace("net.Net", "os.system")
    evil.write_text(f"{text}  kwargs: {{command: touch {canary}}}\n")
    lock = team.lock() | {"experiment": "../../downloads/evil"}
    (evil.parent / "evil.lock.json").write_text(json.dumps(lock))
    done = team.run("pipeline.reproduce", "downloads/evil.lock.json")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "experiment=../../downloads/evil: there is no such experiment" in done.stderr
    assert not canary.exists()


def test_an_artifact_alone_is_made_again_from_what_it_carries(pinned: Team, delivered: Path, tmp_path: Path) -> None:
    alone = shutil.copy(delivered / "artifact" / "small.onnx", tmp_path / "renamed.onnx")
    arguments = ("pipeline.reproduce", str(alone), "stages.load.weights=net.pth")
    done = pinned.run(*arguments, "--output=again", DRYDOCK_TRUST="net")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"identical, {pinned.lock()['record']['digest']}\n" in done.stdout  # type: ignore[index]
    assert (pinned.folder / "again" / "small.onnx").read_bytes() == Path(alone).read_bytes()


REFUSED = [
    ((), {"DRYDOCK_TRUST": "net"}, r"stages\.load\.weights named a file.*\n.*SHA-256 \w{64}"),
    (("stages.load.weights=net.pth",), {}, r"would import 'net\.Net' and may call it"),
    (("stages.load.weights=net.py",), {"DRYDOCK_TRUST": "net"}, "sha256"),
    (("stages.load.wights=net.pth",), {"DRYDOCK_TRUST": "net"}, "no such setting"),
    (("weights=net.pth",), {"DRYDOCK_TRUST": "net"}, "is no setting of a stage"),
]


@pytest.mark.parametrize(("arguments", "env", "message"), REFUSED, ids=[t for *_, t in REFUSED])
def test_what_a_record_alone_cannot_say_is_asked_for(
    arguments: tuple[str, ...], env: dict[str, str], message: str, pinned: Team, delivered: Path
) -> None:
    done = pinned.run("pipeline.reproduce", str(delivered / "artifact" / "small.onnx"), *arguments, **env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # told by inspect after this, compared before
def test_an_artifact_that_was_changed_since_is_told_and_compared(pinned: Team, delivered: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    changed = tmp_path / "small.onnx"
    model = onnx.load(delivered / "artifact" / "small.onnx")
    (bias,) = [t for t in model.graph.initializer if "head.bias" in t.name]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))
    onnx.save(model, changed)
    inspected = pinned.run("pipeline.inspect", str(changed))
    assert inspected.returncode == 5
    assert "small.onnx is not what was handed over" in inspected.stdout
    done = pinned.run("pipeline.reproduce", str(changed), "stages.load.weights=net.pth", DRYDOCK_TRUST="net")
    assert done.returncode == 5
    assert re.search(r"between the two: worst relative error [1-9]\.\de-01", done.stdout), done.stdout


@pytest.mark.slow
def test_a_lock_that_is_elsewhere_is_what_is_compared_with(pinned: Team, tmp_path: Path) -> None:
    lock = pinned.lock()
    lock["record"]["stages"][3]["digest"] = 64 * "0"  # type: ignore[index]
    (tmp_path / "old.lock.json").write_text(json.dumps(lock))
    done = pinned.run("pipeline.reproduce", str(tmp_path / "old.lock.json"))
    assert done.returncode == 5, done.stdout + done.stderr
    assert "in its bytes alone: settings, library versions and code are the same" in done.stdout


def test_what_is_to_be_compared_with_is_not_written_over(pinned: Team, delivered: Path) -> None:
    before = (delivered / "artifact" / "small.onnx").read_bytes()
    done = pinned.run("pipeline.reproduce", str(delivered), f"--output={delivered / 'artifact'}")
    assert done.returncode == 2
    assert "holds what is to be compared with" in done.stderr
    assert (delivered / "artifact" / "small.onnx").read_bytes() == before


@pytest.mark.slow  # that nothing is taken from the store, before this
def test_a_lock_is_pinned_from_what_runs_now_and_not_from_the_store(team: Team) -> None:
    project = another_line(team)
    assert team.run("pipeline.pin", "experiment=small", path=project).returncode == 0
    assert team.run("pipeline.reproduce", "experiment=small", path=project).returncode == 0


def test_weights_that_are_not_those_of_the_experiment_are_refused_by_their_digest(team: Team) -> None:
    (team.folder / "net.pth").write_bytes((team.folder / "net.pth").read_bytes() + b" ")
    done = team.run("pipeline.reproduce", "experiment=small")
    assert done.returncode == 2
    assert re.search(r"weights=.*net\.pth", done.stderr)
    assert len(set(re.findall(r"\w{64}", done.stderr))) == 2
    assert done.stdout == ""


def test_an_artifact_alone_tells_its_story(pinned: Team, delivered: Path, tmp_path: Path) -> None:
    alone = shutil.copy(delivered / "artifact" / "small.onnx", tmp_path / "renamed.onnx")
    done = pinned.run("pipeline.inspect", str(alone))
    assert done.returncode == 0, done.stderr
    for document in (
        r"^small → onnx  fp32",
        r"^whole +its files are as they were handed over",
        r"^weights +from a file with SHA-256 \w{64}",
        r"^inputs +input float32 \[batch, 3, 16, 16\]",
        r"^opset +18",
        r"^checked +check_simplify, of \w+: agrees with the PyTorch model within .*max_rel 0\.0001",
        r"^libraries .*torch 2\.",
        r"^export +\w{12}  export_onnx  opset 18",
    ):
        assert re.search(document, done.stdout, re.MULTILINE), document
    document = json.loads(pinned.run("pipeline.inspect", "--json", str(alone)).stdout)
    assert document["stages"][0]["settings"]["factory"] == "net.Net"
    assert str(pinned.folder) not in alone.read_bytes().decode(errors="replace")  # type: ignore[attr-defined]


@pytest.mark.slow
def test_two_artifacts_are_told_apart(pinned: Team, delivered: Path) -> None:
    done = pinned.run("pipeline", "experiment=small", "opset=20", "hydra.run.dir=other")
    assert done.returncode == 0, done.stderr
    artifact = delivered / "artifact" / "small.onnx"
    inspected = pinned.run("pipeline.inspect", str(artifact), "other")
    assert inspected.returncode == 0
    assert inspected.stdout.startswith("export: settings: opset: 18 → 20\nexport: bytes: ")
    same = pinned.run("pipeline.inspect", str(artifact), str(delivered))
    assert (same.returncode, same.stdout) == (0, "the same record\n")
    with (pinned.folder / "other" / "artifact" / "small.onnx").open("r+b") as f:
        f.write(b"\x08\x09")
    changed = pinned.run("pipeline.inspect", str(artifact), "other")
    assert changed.returncode == 5
    assert "is not what was handed over" in changed.stdout


def test_an_environment_is_told_as_constraints(pinned: Team, delivered: Path) -> None:
    from importlib.metadata import version

    done = pinned.run("pipeline.reproduce", str(delivered), "--environment")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("# What was installed for the run of ")
    assert {f"torch=={version('torch')}", f"hydra-core=={version('hydra-core')}"} < set(lines)
    assert not [line for line in lines if line.startswith("drydock")]
    artifact = pinned.run("pipeline.reproduce", str(delivered / "artifact"), "--environment")
    assert f"onnx=={version('onnx')}" in artifact.stdout.splitlines()


MISTAKES = [
    ("pipeline.reproduce", "experiment=smal", "did you mean 'small'"),
    ("pipeline.reproduce", "experiment=resnet", "no such experiment"),
    ("pipeline.reproduce", "nowhere.onnx", r"there is no nowhere\.onnx"),
    ("pipeline.reproduce", "net.pth", "no format that carries a record"),
    ("pipeline.inspect", "conf", "holds neither artifact.json nor run.json"),
    ("pipeline.inspect", "conf/experiment/small.yaml", "no format that carries a record"),
    ("pipeline.pin", "small", "names no experiment"),
    ("pipeline.pin", "experiment=open", "leaves model.weights open"),
    ("pipeline.pin", "experiment=loose", r"model\.sha256 is null"),
]


@pytest.mark.parametrize(("command", "arguments", "message"), MISTAKES, ids=[" ".join(m[:2]) for m in MISTAKES])
def test_a_mistake_is_told_with_what_is_allowed(command: str, arguments: str, message: str, pinned: Team) -> None:
    head = "# @package _global_\ndefaults: [override /model: resnet50]\nmodel: "
    pinned.experiment.with_name("open.yaml").write_text(f"{head}{{weights: auto}}\n")
    pinned.experiment.with_name("loose.yaml").write_text(f"{head}{{weights: net.pth}}\n")
    done = pinned.run(command, arguments)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_an_experiment_that_was_never_pinned_says_how(team: Team) -> None:
    team.experiment.with_name("small.lock.json").unlink()
    done = team.run("pipeline.reproduce", "experiment=small")
    assert done.returncode == 2
    assert "python -m pipeline.pin experiment=small" in done.stderr
