"""What Hydra's launchers need from a sweep: submitit's, joblib's and Ray's."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import socket
from collections.abc import Iterator
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from pipeline.errors import BackendMissing
from pipeline.running.parent import die_with

ADDRESS = re.compile(r"(?:ray://)?\[?(.+?)\]?:(\d+)")
CONNECT_SECONDS = 10.0


def of_this_process(launcher: Launcher, master: DictConfig) -> Launcher:
    """A launcher that runs jobs in this process, in place of another: a plan takes less time than a process."""
    here = BasicLauncher()
    its: Any = launcher
    here.setup(hydra_context=its.hydra_context, task_function=its.task_function, config=master)
    return here


def refuse_unreachable(launcher: Launcher) -> None:
    """Raises BackendMissing where no Ray answers at the address of a cluster: Ray itself would try for minutes."""
    init = getattr(launcher, "ray_cfg", {}).get("init") or {}
    match = ADDRESS.fullmatch(str(init.get("address")))
    if match is None:
        return
    host, port = match.groups()
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as e:
        raise BackendMissing(
            f"no Ray cluster answers at {host}:{port}: {e}",
            allowed="hydra.launcher.ray.init.address=HOST:PORT, or auto on a machine of the cluster",
            command="ray status --address HOST:PORT tells whether it runs",
        ) from e


@contextlib.contextmanager
def waiting_for_all(launcher: Launcher) -> Iterator[None]:
    """Makes launchers wait for every job: submitit's and Ray's stop at the first lost job while the others run on.

    joblib's wait; its processes, even those that never get a job, would outlive this one if it is killed.
    """
    owner: Any
    if "submitit" in (plugin := type(launcher).__module__):
        owner, name = importlib.import_module("submitit.core.core").Job, "results"
    elif "joblib" in plugin:
        vars(launcher)["joblib"] |= {"initializer": die_with, "initargs": (os.getpid(),)}
        yield
        return
    elif "ray" in plugin:
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # lines that differ by the job's number alone are no repetition
        owner, name = importlib.import_module("ray"), "get"
    else:
        yield
        return
    wait = getattr(owner, name)

    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return wait(*args, **kwargs)
        except Exception as e:
            return e if name == "get" else [e]

    setattr(owner, name, answer)
    try:
        yield
    finally:
        setattr(owner, name, wait)
        if name == "get":
            owner.shutdown()  # Ray's last lines about lost jobs come now, and not after the results
