"""`convert` and `sweep`: what the command line does, as functions."""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import disk, job
from pipeline.api import examples
from pipeline.api.result import Conversion
from pipeline.api.spelling import override
from pipeline.api.table import Row, Sweep
from pipeline.artifact import Artifact
from pipeline.config import compose
from pipeline.config.composed import Composed
from pipeline.config.instantiate import find_stage
from pipeline.errors import INTERRUPTED, ConfigError, DrydockError
from pipeline.machine.world import code_identity
from pipeline.planning.plan import Step
from pipeline.running.outcome import Listener, Outcome
from pipeline.runs.manifest import RUNS, RunManifest
from pipeline.stage import snake_case
from pipeline.terminal.console import Console, StderrHandler

LOGGERS = ("pipeline", "stages", "worker", "traceback")
ON_SCREEN = ("pipeline", "stages")
# Hydra composes with what it keeps for the whole process.
_composing = threading.Lock()
_begun = itertools.count()


def convert(
    model: Any,
    /,
    *overrides: str,
    example_inputs: Any = None,
    dynamic: Mapping[Any, Any] | None = None,
    dims: Mapping[str, Any] | None = None,
    progress: bool = True,
    **choices: Any,
) -> Conversion:
    """Converts a model, checks the artifact against it, and hands it over, as `python -m pipeline` does.

    Finished stages are kept in the same store, under the same keys, and written to the same folders. The process's
    streams, signals and logging are left alone, so it serves in a thread, in a notebook and inside of `@hydra.main`.

    Args:
        model: A torch.nn.Module in memory, which is copied and left as it is; or the name of a model, such as
            "resnet50", or "mine" of ./conf/model/mine.yaml.
        overrides: What else the command line takes, such as "stages.export.keep_source=true".
        example_inputs: Of a module, what its forward is called with: a tensor, a tuple of them in order, or a mapping
            by parameter.
        dynamic: Of a module, which axes have no fixed size: {"ids": {0: "batch", 1: "sequence"}}, or {0: "batch"} for
            every input.
        dims: The sizes of these: {"sequence": (1, 512)} or (smallest, usual, largest). A first axis that has none is
            1 to 8.
        progress: Whether each stage is a line on stderr; pipeline.log in the run's folder has them anyway.
        choices: By the command line's names, such as target, precision, opset, capture, also, output and store; those
            with dots in a mapping, `**{"model.weights": "net.pth"}`. Values may be texts, numbers, lists, mappings and
            paths.

    Raises:
        ConfigError: When what is asked for cannot be done.
        StageError: When a stage failed.
        BackendMissing: When a library that it takes is not installed.
        CheckFailed: When the artifact does not agree with the model.
    """
    with _handed(model) as handle:
        return _converted(_overrides(model, handle, overrides, example_inputs, dynamic, dims, choices), progress)


def sweep(
    model: Any,
    /,
    *overrides: str,
    example_inputs: Any = None,
    dynamic: Mapping[Any, Any] | None = None,
    dims: Mapping[str, Any] | None = None,
    progress: bool = True,
    **choices: Any,
) -> Sweep:
    """Converts a model once for every combination of the choices that are lists: `sweep(net, opset=[17, 18], …)`.

    A conversion that fails leaves the others alone. What several share is built once.

    Args: as for `convert`; `model` may be a list of names. Of `also` and other choices that are lists by themselves, a
        list of lists is swept over.

    Raises ConfigError where there is nothing to sweep over, or what is the same for all cannot be.
    """
    axes: dict[str, list[Any]] = {}
    if isinstance(model, list):
        axes["model"] = model
    axes |= {k: list(v) for k, v in choices.items() if _is_axis(k, v)}
    fixed = {k: v for k, v in choices.items() if k not in axes}
    if not axes or not all(axes.values()):
        raise ConfigError("no choice of this sweep is a list of values", command="sweep(model, opset=[17, 18])")
    if "output" in fixed:
        raise ConfigError("output is one folder for every conversion of a sweep", command="no output=")
    rows, cache = [], dict[str, Artifact]()
    for cell in itertools.product(*axes.values()):
        chosen = dict(zip(axes, cell, strict=True))
        chosen_model = chosen.get("model", model)
        more = {k: v for k, v in chosen.items() if k != "model"}
        try:
            with _handed(chosen_model) as handle:
                cell_overrides = _overrides(
                    chosen_model, handle, overrides, example_inputs, dynamic, dims, {**fixed, **more}
                )
                rows.append(Row(chosen, _converted(cell_overrides, progress, cache), None))
        except DrydockError as e:
            rows.append(Row(chosen, None, e))
    return Sweep(list(axes), rows)


LISTS = ("also", "trust", "store")


def _is_axis(name: str, value: Any) -> bool:
    if name.rpartition(".")[2] in LISTS:
        return isinstance(value, list) and bool(value) and all(isinstance(v, list) for v in value)
    return isinstance(value, list)


@contextmanager
def _handed(model: Any) -> Iterator[str]:
    """Registers a module in memory for the stage that loads it, and yields its handle; "" for a name."""
    if not callable(getattr(model, "forward", None)) or not hasattr(model, "state_dict"):
        yield ""
        return
    with find_stage("take_module").handed(model, code_identity) as handle:  # type: ignore[attr-defined]
        yield handle


def _overrides(
    model: Any,
    handle: str,
    overrides: Sequence[str],
    example_inputs: Any,
    dynamic: Mapping[Any, Any] | None,
    dims: Mapping[str, Any] | None,
    choices: Mapping[str, Any],
) -> list[str]:
    """The overrides of one conversion, with its run folder; the values of its examples are saved there."""
    if "plan" in choices:
        raise ConfigError("plan is a choice of the command line", command="python -m pipeline … plan=true")
    chosen = [override(name, value) for name, value in choices.items()]
    if isinstance(model, str):
        if example_inputs is not None or dynamic or dims:
            raise ConfigError(
                f"example_inputs, dynamic and dims are for a module in memory, and {model} is a model's name",
                allowed="choices such as **{'model.dims.batch.max': 16}",
            )
        return [f"model={model}", *_run_folder(model, choices), *chosen, *overrides]
    if not handle:
        raise ConfigError(
            f"the model is {type(model).__name__}", allowed="a torch.nn.Module, or the name of a model in conf/model"
        )
    if example_inputs is None:
        raise ConfigError(
            f"{type(model).__name__} is a module in memory, and nothing says what its forward takes",
            command="example_inputs=(tensor, …)",
        )
    shown = examples.describe(model.forward, example_inputs, dynamic, dims)
    name = snake_case(type(model).__name__)
    (folder,) = _run_folder(name, choices)
    place = Path(folder.partition("=")[2].strip("'"))
    inputs = {
        n: {**spec, "fill": spec["fill"] or {"file": _save_example(shown.arrays[n], n, place)}}
        for n, spec in shown.inputs.items()
    }
    own = {"model.name": name, "model.handle": handle, "model.inputs": inputs}
    own |= {f"model.dims.{name}": sizes for name, sizes in shown.dims.items()}
    if shown.call:
        own["model.call"] = shown.call
    return ["model=live", folder, *(override(k, v) for k, v in own.items()), *chosen, *overrides]


def _run_folder(name: str, choices: Mapping[str, Any]) -> list[str]:
    """The folder of this run, named as by the command line, and different in each thread."""
    now = datetime.now()
    what = "-".join(filter(None, [name, str(choices.get("target", ""))]))
    folder = f"runs/{now:%Y-%m-%d}/{now:%H-%M-%S-%f}-{next(_begun)}-{what}"
    return [override("hydra.run.dir", str(Path(folder).absolute()))]


def _save_example(array: Any, name: str, folder: Path) -> str:
    """Saves an example's values and returns the file."""
    path = folder / "examples" / f"{name}.npy"
    with disk.explained(f"the run folder {folder}", RUNS, folder.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        sys.modules["numpy"].save(path, array)
    return str(path)


def _converted(overrides: list[str], progress: bool, cache: dict[str, Artifact] | None = None) -> Conversion:
    began = time.perf_counter()
    folder = _absolute(overrides)
    with disk.explained(f"the run folder {folder}", RUNS, folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
    composed = None
    with _logged(folder / "pipeline.log", progress=progress):
        try:
            with _composing:
                composed = compose.compose(overrides)
            return _run(composed, folder, began, progress, cache)
        except DrydockError as e:
            logging.getLogger("traceback").error("the run ended here", exc_info=e)
            if composed is None:
                RunManifest(folder / "run.json", overrides, {}).fail(e, e.exit_code)
            raise


def _run(
    composed: Composed, folder: Path, began: float, progress: bool, cache: dict[str, Artifact] | None
) -> Conversion:
    manifest = RunManifest(folder / "run.json", composed.overrides, composed.choices)
    screen = Console(began) if progress and sys.stderr is not None else None
    try:
        manifest.note_configuration(composed.config, None)
        ready = job.ready(composed, Path.cwd())
        result = ready.run(manifest, lambda: screen or _Silent(), folder.parents[1], cache)
    except DrydockError as e:
        manifest.fail(e, e.exit_code)
        raise
    except KeyboardInterrupt:
        manifest.fail(None, INTERRUPTED)
        raise
    finally:
        if screen:
            screen.close()
    if result.delivered is None or result.record is None:
        raise ConfigError("no stage of this graph delivers an artifact", command="no ~stages.save")
    content = partial(ready.store.open, result.record["digest"])
    seconds = time.perf_counter() - began
    return Conversion(result.delivered, result.record, result.outcomes, manifest.path, seconds, content, result.served)


def _absolute(overrides: Sequence[str]) -> Path:
    (own,) = [o.partition("=")[2].strip("'") for o in overrides if o.startswith("hydra.run.dir=")][:1]
    return Path(own)


class _Silent(Listener):
    def planned(self, steps: Sequence[Step]) -> None: ...

    def started(self, name: str) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


@contextmanager
def _logged(path: Path, *, progress: bool) -> Iterator[None]:
    """Writes this thread's log to a file, and to stderr if `progress`."""
    here = threading.get_ident()
    handlers: list[logging.Handler] = [logging.FileHandler(path, delay=True)]
    handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if progress and sys.stderr is not None:
        handlers.append(StderrHandler())
        handlers[1].addFilter(lambda record: record.name.partition(".")[0] in ON_SCREEN)
    for handler in handlers:
        handler.addFilter(lambda record: record.thread == here)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False  # the program's own handlers get what it raises, and no line a stage
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, handler in itertools.product(loggers, handlers):
            logger.removeHandler(handler)
        handlers[0].close()
