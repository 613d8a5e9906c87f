"""Which models reach a checked Core ML package, here and by coremltools alone: makes docs/coreml_coverage.md.

    make bench-coreml                       everything; about an hour on two cores
    python -m benchmarks.coreml transformers --done FILE   a family, printed and not written; goes on where it stopped

Each model is built with random weights. Ours is the way of a user, `python -m pipeline target=coreml`, by a trace and,
where that fails, by torch.export. coremltools alone is `coremltools.convert` of the same two captures, as its guide has
it. Each try is a process of its own, forked from one that has imported everything.

Source: https://apple.github.io/coremltools/docs-guides/source/convert-pytorch-workflow.html
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from benchmarks.coreml_models import chosen
from benchmarks.coverage import Cell, escaped, finished, outcome
from benchmarks.coverage_models import Subject
from benchmarks.process import silent

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coreml_coverage.md"
CAPTURES = ("trace", "export")
LONGEST_SECONDS = 600
IMPORTED = ["torch", "torch._dynamo", "torchvision", "transformers", "coremltools", "pipeline.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="part of a family's or a model's name")
    parser.add_argument("--done", type=Path, help="a file that keeps what is finished, for a run that goes on later")
    arguments = parser.parse_args()
    subjects = [s for s in chosen() if arguments.name in s.family or arguments.name in s.name]
    rows = finished(arguments.done)
    ways = multiprocessing.get_context("forkserver")
    ways.set_forkserver_preload(IMPORTED)
    os.environ["OMP_NUM_THREADS"] = "1"  # as many of these run as there are cores
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for ended in as_completed([pool.submit(row, ways, s) for s in subjects if s not in rows]):
            subject, cells = ended.result()
            print(f"{subject.family}, {subject.name}:", *(f"{w}: {c.text}" for w, c in zip(WAYS, cells, strict=True)))
            rows[subject] = cells
            if arguments.done:
                with arguments.done.open("a") as f:
                    print(json.dumps([asdict(subject), [asdict(c) for c in cells]]), file=f)
    page = written([(s, rows[s]) for s in subjects])
    if arguments.name:
        print(page)
    else:
        PAGE.write_text(page)


def row(ways: multiprocessing.context.BaseContext, subject: Subject) -> tuple[Subject, list[Cell]]:
    """What becomes of a model each way, by the first capture that serves; what the others said, where none does."""
    cells = []
    for way in WAYS.values():
        tries: list[Cell] = []
        for capture in CAPTURES:
            tries.append(tried(ways, way, subject, capture))
            if tries[-1].ok:
                break
        texts = [f"{c}: {t.text}" for c, t in zip(CAPTURES, tries, strict=False)]
        served = f"{tries[-1].text} ({CAPTURES[len(tries) - 1]})"
        cells.append(Cell(True, served) if tries[-1].ok else Cell(False, "; ".join(texts)))
    return subject, cells


def tried(ways: multiprocessing.context.BaseContext, way: Way, subject: Subject, capture: str) -> Cell:
    """One way by one capture, in a process of its own that may take only so long."""
    with tempfile.TemporaryDirectory() as folder:
        process = ways.Process(target=way, args=(subject.overrides, capture, Path(folder)))  # type: ignore[attr-defined]
        process.start()
        process.join(LONGEST_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return Cell(False, f"not finished within {LONGEST_SECONDS} s")
        return outcome(Path(folder) / "run.json", f"its process ended with {process.exitcode}")


def drydock(overrides: Sequence[str], capture: str, folder: Path) -> None:
    """Leaves the run.json of a conversion with its check."""
    import sys

    from pipeline import cli

    with silent(folder):
        sys.argv = ["drydock", *overrides, "target=coreml", f"capture={capture}", "model.weights=random"]
        sys.argv += ["~stages.save", f"store={folder}/store", f"hydra.run.dir={folder}"]
        sys.exit(cli.main())


def coremltools_alone(overrides: Sequence[str], capture: str, folder: Path) -> None:
    """Leaves a run.json that says whether coremltools converts that capture; nothing checks what it made."""
    import coremltools as ct
    import numpy as np

    from stages.capture import programs
    from stages.interface.interface import Interface

    with silent(folder):
        notes = {"status": "ok", "stages": []}
        try:
            source = _captured(overrides, capture, folder)
            program = programs.load(source)
            program = program.run_decompositions({}) if capture == "export" else program
            interface = Interface.read(source)
            ranges = {n: ct.RangeDim(d.min, d.max, d.opt) for n, d in interface.dims.items()}
            inputs = [
                ct.TensorType(name, [ranges.get(d, d) for d in spec.shape], np.dtype(spec.dtype).type)
                for name, spec in interface.inputs.items()
            ]
            ct.convert(program, inputs=inputs, minimum_deployment_target=ct.target.iOS16, skip_model_load=True)
        except Exception as e:  # whatever it says is the result
            notes = {"status": "failed", "problems": [{"what": f"{type(e).__name__}: {e}"}]}
        (folder / "run.json").write_text(json.dumps(notes))


Way = Callable[[Sequence[str], str, Path], None]
WAYS: dict[str, Way] = {"drydock": drydock, "coremltools": coremltools_alone}


def _captured(overrides, capture, folder):  # type: ignore[no-untyped-def]
    """The captured program of a model, made by this project's stages up to there."""
    from dataclasses import replace

    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from pipeline.config import schema
    from pipeline.config.compose import CONF
    from pipeline.config.instantiate import build_stage
    from pipeline.machine.world import ThisMachine
    from pipeline.planning import graph

    schema.register(CONF)
    all_overrides = [*overrides, "target=onnx", f"capture={capture}", "model.weights=random"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = OmegaConf.to_container(compose("config", all_overrides).stages, resolve=True)
    stages = {name: build_stage(f"stages.{name}", fields) for name, fields in settings.items()}
    artifacts = {}
    for node in graph.build(stages, {name: settings[name]["needs"] or () for name in stages}):
        (folder / node.name).mkdir()
        inputs = {port: artifacts[name] for port, name in node.inputs.items()}
        stage = node.stage.settle(ThisMachine(folder / "facts", may_fetch=False))
        artifact = stage.run(inputs, folder / node.name)
        facts = next(iter(inputs.values())).facts if inputs else {}
        artifacts[node.name] = replace(artifact, facts={**facts, **artifact.facts})
        if node.name == "capture":
            return artifacts["capture"]
    raise LookupError("this graph captures nothing")


def written(rows: Sequence[tuple[Subject, Sequence[Cell]]]) -> str:
    """The page: a summary by family, then a table for each."""
    from pipeline.machine.world import library_version

    versions = ", ".join(f"{m} {library_version(m)}" for m in ("torch", "torchvision", "transformers", "coremltools"))
    families = list(dict.fromkeys(s.family for s, _ in rows))
    lines = [
        "# Which models reach a checked Core ML package",
        "",
        "Made by `make bench-coreml`, not by hand. Each model has random weights, is converted to an ML Program in",
        "float32 on Linux and checked against PyTorch by this project's evaluator of saved packages, at batches of 1",
        "and 2 (transformers: 1, 2, 3 and 8, and four lengths of text or sound). By a trace and, where that fails, by",
        "torch.export; the one that served is in brackets. A number is the worst relative error; a sentence is what",
        "the run said when it ended. Beside it coremltools alone, given the same captures: whether it converts them;",
        "whether what it makes is right, nobody says.",
        f"Measured with {versions}.",
        "",
        "| family | models | checked | coremltools alone converts |",
        "| --- | ---: | ---: | ---: |",
    ]
    for family in [*families, "all"]:
        cells_of_family = [cells for s, cells in rows if family in (s.family, "all")]
        counts = [sum(cells[i].ok for cells in cells_of_family) for i in range(len(WAYS))]
        lines.append(f"| {family} | {len(cells_of_family)} | {' | '.join(map(str, counts))} |")
    for family in families:
        lines += ["", f"## {family}", "", "| model | here | coremltools alone |", "| --- | --- | --- |"]
        of_family = [(s.name, *(escaped(c.text) for c in cells)) for s, cells in rows if s.family == family]
        lines += [f"| {' | '.join(cells)} |" for cells in of_family]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
