"""Sweeps on a cluster of Ray's: two nodes of this machine, on loopback. `make test-launchers` has the libraries."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import MODEL, SHOP
from harness import backend

pytestmark = pytest.mark.slow

# A model that is built when its like is being built on another node: two jobs on one node would wait for ever.
MEETING = """
import os, time, pathlib, net, ray

class Meets(net.Net):
    def __init__(self, place, width=8):
        super().__init__(width)
        place = pathlib.Path(place)
        (place / f"node-{ray.get_runtime_context().get_node_id()}").touch()
        until = time.monotonic() + 120
        while len(list(place.glob("node-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that both nodes see, with a model's file in it."""
    backend("ray")
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "net.py").write_bytes((SHOP / "net.py").read_bytes())
    (folder / "meeting.py").write_text(MEETING)
    return folder


@pytest.fixture(scope="module")
def env(place: Path) -> dict[str, str]:
    """The environment of all that belongs to the cluster: its nodes import models from the folder."""
    ours = {"PYTHONPATH": f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "RAY_USAGE_STATS_ENABLED": "0"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # as Ray starts clusters from 2.60 on
    return os.environ | ours | token


@pytest.fixture(scope="module")
def cluster(place: Path, env: dict[str, str]) -> Iterator[str]:
    """The address of a cluster with two nodes of one core each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).with_name("ray"))
    node = [ray, "start", "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
    address = f"127.0.0.1:{port}"
    try:
        for first in (["--head", f"--port={port}", "--include-dashboard=false"], [f"--address={address}"]):
            subprocess.run([*node, "--node-ip-address=127.0.0.1", *first], env=env, check=True, capture_output=True)
        yield address
    finally:
        subprocess.run([ray, "stop", "--force"], env=env, check=False, capture_output=True)


def test_two_nodes_share_a_sweep_and_a_store(place: Path, env: dict[str, str], cluster: str) -> None:
    command = [sys.executable, "-m", "pipeline", "-m", "hydra/launcher=ray_cluster", *MODEL, "target=onnx"]
    command += [f"hydra.launcher.ray.init.address={cluster}", "hydra.launcher.ray.remote.num_cpus=1"]
    command += ["model.factory=meeting.Meets", f"+model.kwargs.place={place}", "model.weights=random"]
    command += ["+model.kwargs.width=4,6", "opset=18,20", f"store={place}/store", f"hydra.sweep.dir={place}/sweep"]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 jobs: 4 ok\n" in done.stderr
    assert len(list(place.glob("node-*"))) == 2
    jobs = json.loads((place / "sweep/jobs.json").read_text())["jobs"]
    assert done.stdout.splitlines() == [f"{place}/sweep/{job['folder']}/artifact/custom.onnx" for job in jobs]
    runs = [json.loads((place / "sweep" / job["folder"] / "run.json").read_text()) for job in jobs]
    built = [s["key"] for run in runs for s in run["stages"] if s["how"] == "built" and s["digest"]]
    assert len(built) == len(set(built))
    for job in jobs:  # twice: nodes of one machine forward each other's lines
        saved = [line for line in done.stderr.splitlines() if f"job {job['number']}  save " in line]
        assert saved
        assert all("delivered" in line for line in saved)


def test_a_cluster_that_is_not_there_is_named(place: Path, env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pipeline", "-m", "hydra/launcher=ray_cluster", *MODEL, "target=onnx"]
    command += ["hydra.launcher.ray.init.address=127.0.0.1:1", "opset=18,20", "model.weights=random"]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert "Traceback" not in done.stderr
    assert "no Ray cluster answers at 127.0.0.1:1: " in done.stderr
    assert not (place / "sweeps").exists()
