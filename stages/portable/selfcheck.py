"""Checks a model on the device that it was delivered to, against what the original answered.

    python selfcheck.py                        as it was checked before it was delivered
    python selfcheck.py --compute default      as an application gets it that asks the runtime for nothing
    python selfcheck.py --runs 200 --threads 2

It needs Python 3.10 or later, numpy, and the model's runtime, onnxruntime or openvino. It reads artifact.json and
reference.npz beside itself.
Exit codes: 0 it agrees, 2 wrong usage, 3 it cannot run, 4 the runtime or numpy is not installed, 5 it does not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.portable.comparison import Tolerance, compared
from stages.portable.handed_over import (
    CANNOT_RUN,
    OK,
    Case,
    Stop,
    count,
    demand_files,
    exit_code,
    failed,
    latency,
    module,
    parser,
    read_cases,
    read_record,
    verdict,
    worst_of,
)
from stages.portable.said import first_line

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

# Of each kind: the file that a runtime opens, and the runtime's module.
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "openvino_blob": ".blob"}
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "openvino_blob": "openvino"}
HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
PRECISION = "INFERENCE_PRECISION_HINT"
RECORDED, DEFAULT = "recorded", "default"


class Running(NamedTuple):
    """A loaded model: outputs by name for inputs by name, one inference for a clock, and what the runtime says."""

    run: Callable[[Arrays], dict[str, Any]]
    prepare: Callable[[Arrays], Callable[[], object]]
    computes_in: str
    says: str


def main(arguments: Sequence[str] | None = None, folder: Path = Path(__file__).parent) -> int:
    """Checks the bundle in a folder. Returns the exit code."""
    asked = _asked(arguments)
    return exit_code(lambda: _checked(folder, asked), "checked")


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    asking = parser(str(__doc__))
    asking.add_argument(
        "--compute",
        choices=(RECORDED, DEFAULT, *HINTS),
        default=RECORDED,
        help="what the runtime is asked to compute in; default: it is asked for nothing",
    )
    asking.add_argument("--device", help="by the runtime's own name; CPU, or what a blob is for, unless named")
    asking.add_argument("--runs", type=count, default=50, help="inferences to time; 0 for none")
    asking.add_argument("--threads", type=count, default=0, help="to compute with; 0 for the runtime's own choice")
    asking.add_argument("--extension", type=Path, help="a library with operations that the runtime does not have")
    return asking.parse_args(arguments)


def _checked(folder: Path, asked: argparse.Namespace) -> int:
    record = read_record(folder)
    claim = verdict(record)
    if claim is None or record["kind"] not in RUNTIMES:
        raise Stop(CANNOT_RUN, "artifact.json does not say what this model was held to: deliver it again")
    claim = {"compute": record["precision"]["compute"], "properties": {}, **claim}
    print(f"{record['model']}  {record['precision']['name']}, {record['kind']}, made by drydock {record['drydock']}")
    if record["facts"].get("weights", {}).get("trained") is False:
        print("weights   UNTRAINED: its answers mean nothing")
    demand_files(folder, record["sha256"])
    print(f"files     {len(record['sha256'])}, as they were delivered")
    cases = read_cases(folder)
    running = _loaded(folder, record, claim, asked)
    print(f"runtime   {running.says}, computes in {running.computes_in}")
    wrong = [*_of_precision(running.computes_in, claim, asked.compute), *_compared(running, cases, claim)]
    if asked.runs:
        case = next((c for c in cases if c.label == "example"), cases[0])
        latency(running.prepare(case.inputs), case, asked.runs)
    if wrong:
        raise failed(wrong)
    if "why" in claim:
        print(f"NOT CHECKED against {claim['against']}: {claim['why']}. It runs at {len(cases)} shapes")
    else:
        print(f"passed    it agrees with {claim['against']} at {len(cases)} shapes")
    return OK


def _loaded(folder: Path, record: Mapping[str, Any], claim: Mapping[str, Any], asked: argparse.Namespace) -> Running:
    runtime = module(RUNTIMES[record["kind"]])
    (path,) = (folder / n for n in record["files"] if n.endswith(SUFFIXES[record["kind"]]))
    load = _with_onnxruntime if record["kind"] == "onnx" else _with_openvino
    try:
        return load(runtime, path, record, claim, asked)
    except Stop:
        raise
    except Exception as e:  # a runtime raises anything
        raise Stop(CANNOT_RUN, f"{runtime.__name__} {runtime.__version__} cannot load it: {first_line(e)}") from e


def _with_onnxruntime(
    onnxruntime: Any, path: Path, record: Mapping[str, Any], claim: Mapping[str, Any], asked: argparse.Namespace
) -> Running:
    device = asked.device or "CPU"
    known = {p.removesuffix("ExecutionProvider").upper(): p for p in onnxruntime.get_available_providers()}
    if device.upper() not in known:
        raise Stop(CANNOT_RUN, f"this onnxruntime does not run on {device}\n  it does on: {', '.join(known)}")
    provider = known[device.upper()]
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    if asked.threads:
        options.intra_op_num_threads, options.inter_op_num_threads = asked.threads, 1
    if asked.extension:
        options.register_custom_ops_library(str(asked.extension))
    # Version 1.31.1 ends its process by a segmentation fault on ViTs in float16, unless it leaves this out.
    left_out = ["NchwcTransformer"] if record["precision"]["storage"] == "float16" else []
    session = onnxruntime.InferenceSession(path, options, providers=[provider], disabled_optimizers=left_out)
    if session.get_providers()[0] != provider:  # it falls back to the CPU without a word
        raise Stop(CANNOT_RUN, f"onnxruntime cannot use {device} here, and would run on the CPU instead")
    names = [o.name for o in session.get_outputs()]
    return Running(
        lambda given: dict(zip(names, session.run(names, given), strict=True)),
        lambda given: lambda: session.run(names, given),
        claim["compute"],  # the types are the graph's own, and its file is the one that was checked
        f"onnxruntime {onnxruntime.__version__} on {device}",
    )


def _with_openvino(
    openvino: Any, path: Path, record: Mapping[str, Any], claim: Mapping[str, Any], asked: argparse.Namespace
) -> Running:
    core = openvino.Core()
    if asked.extension:
        core.add_extension(str(asked.extension))
    ties = record["facts"].get("blob", {})
    device = asked.device or ties.get("device", "CPU")
    if device.partition(".")[0] not in {d.partition(".")[0] for d in core.available_devices}:
        raise Stop(CANNOT_RUN, f"OpenVINO finds no {device} here\n  it finds: {', '.join(core.available_devices)}")
    settings = _settings({**ties.get("properties", {}), **claim["properties"]}, claim["compute"], asked)
    name = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
    if record["kind"] == "openvino_blob":
        try:
            model = core.import_model(path.read_bytes(), device, settings)
        except Exception as e:  # a plugin raises anything
            made = f"OpenVINO {ties['openvino']} for {ties['device']} '{ties['device_name']}', {ties['requirements']}"
            raise Stop(
                CANNOT_RUN,
                f"this blob does not fit: {first_line(e)}\n  it was made by {made}\n  this is OpenVINO "
                f"{openvino.get_version()} on {device} '{name}'\n  the .xml beside it runs anywhere",
            ) from e
    else:
        model = core.compile_model(path, device, settings)
    for setting, value in settings.items():
        told = _text(model.get_property(setting))
        if setting != PRECISION and told.casefold() != _text(value).casefold():
            raise failed([f"{setting} was asked for as {value}, OpenVINO set it to {told}"])
    hint = _text(model.get_property(PRECISION))

    def run(given: Arrays) -> dict[str, Any]:
        returned = model(dict(given))
        return {port.any_name: returned[port] for port in model.outputs}

    def prepare(given: Arrays) -> Callable[[], object]:
        request = model.create_infer_request()
        for port, value in given.items():
            tensor = openvino.Tensor(value.dtype, value.shape)  # its own memory, aligned as it likes
            tensor.data[...] = value
            request.set_tensor(port, tensor)
        return lambda: request.infer(share_outputs=True)

    computes_in = {v: k for k, v in HINTS.items()}.get(hint, hint)
    return Running(run, prepare, computes_in, f"openvino {openvino.get_version()} on {device} '{name}'")


def _settings(recorded: Mapping[str, str], compute: str, asked: argparse.Namespace) -> dict[str, str]:
    """What OpenVINO is asked for."""
    threads = {"INFERENCE_NUM_THREADS": str(asked.threads), "NUM_STREAMS": "1"} if asked.threads else {}
    if asked.compute == DEFAULT:
        return threads
    return {**recorded, PRECISION: HINTS[compute if asked.compute == RECORDED else asked.compute], **threads}


def _compared(running: Running, cases: Sequence[Case], claim: Mapping[str, Any]) -> list[str]:
    """Prints the worst figures at each shape. Returns what is wrong, a sentence each."""
    wrong = []
    width = max(len(f"{c.label}  {c.shape}") for c in cases)
    print(f"{'':{width}}  max_rel  p99_rel  cosine    top1")
    for case in cases:
        try:
            found = running.run(case.inputs)
        except Exception as e:  # a runtime raises anything
            raise Stop(CANNOT_RUN, f"it cannot be run at {case.shape}: {first_line(e)}") from e
        if "why" in claim:
            told, problems = "runs", _not_finite(found)
        else:
            figures, problems = compared(found, case.outputs, Tolerance(**claim["tolerance"]))
            told = worst_of(list(figures.values())) if figures else "differs" if problems else "equal"
        print(f"{case.label}  {case.shape}".ljust(width), told, sep="  ")
        wrong += [f"{case.label} ({case.shape}): {p}" for p in problems]
    return wrong


def _not_finite(found: Arrays) -> list[str]:
    np = module("numpy")
    return [f"output '{n}' holds NaN or infinities" for n, v in found.items() if not np.isfinite(v).all()]


def _of_precision(found: str, claim: Mapping[str, Any], asked: str) -> list[str]:
    """What is wrong with the type that the runtime says it computes in: not what was asked for, or not as checked."""
    if asked in HINTS and found != asked:
        return [f"asked to compute in {asked}, the runtime computes in {found}"]
    checked = claim["compute"]
    return [] if found == checked else [f"the runtime computes in {found}; it was checked computing in {checked}"]


def _text(value: Any) -> str:
    """A property's value as it would be asked for: f32, ACCURACY, YES, 2."""
    if hasattr(value, "to_string"):  # an element type
        return str(value.to_string())
    text = str(getattr(value, "name", value))
    return {"true": "YES", "false": "NO"}.get(text.casefold(), text)


if __name__ == "__main__":
    sys.exit(main())
