"""The file of a torch.export program: written so that nothing in it can run code, and read only if that is true.

torch.export.load unpickles example inputs, tensors of subclasses, custom objects and files of earlier versions, loads
compiled libraries, and evaluates sizes, guards and names from the program's JSON as Python. Programs to convert need no
pickles, and only a few plain forms of the rest; everything else is refused.

Source: https://github.com/pytorch/pytorch/blob/main/torch/export/pt2_archive/_package.py
and https://github.com/pytorch/pytorch/blob/main/torch/_export/serde/serialize.py
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import StageError

PROGRAM = "models/model.json"
EXAMPLES = "data/sample_inputs/model.pt"
CONFIGS = {"data/weights/model_weights_config.json": "weight_", "data/constants/model_constants_config.json": "tensor_"}
RECORDS = re.compile(
    rf"{re.escape(PROGRAM)}|{re.escape(EXAMPLES)}|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|archive_format|archive_version|byteorder|version|\.data/\w+"
)
# The writer makes a new one for every archive.
IDENTITY = ".data/serialization_id"


class Unsafe(Exception):
    """The file of a program has something that could run code."""


def write(program: Any, path: Path) -> None:
    """Writes a torch.export.ExportedProgram without its example inputs.

    Raises:
        Unsafe: When its file would not be safe to read; nothing is written.
    """
    import torch

    bare = copy.copy(program)
    bare.example_inputs = None
    torch.export.save(bare, path)
    try:
        _verified(str(path))
    except Unsafe:
        path.unlink()
        raise


def read(file: Path | io.BytesIO, says: str) -> Any:
    """The torch.export.ExportedProgram in a file, without the example inputs that may be in it.

    Args:
        file: The file or its content.
        says: Its name in messages.

    Raises:
        StageError: When it has anything that could run code.
        RuntimeError: As torch does for what it cannot read, such as an operator that is not registered.
    """
    from torch.export.pt2_archive import _package

    source: Any = str(file) if isinstance(file, Path) else file
    try:
        reader = _verified(source)
    except Unsafe as e:
        raise StageError(
            f"{says} is not read, for it is damaged or made to run code: {e}",
            allowed="a torch.export program of plain tensors, as torch 2.9 and later save it",
            command="torch.export.save(program, FILE) where it was made, with the torch that is installed here",
        ) from e
    if reader.get_record_size(EXAMPLES):
        source = _without_examples(reader)
    # Not torch.export.load: for other files it falls back to an older format, which is pickles.
    program = _package.load_pt2(source).exported_programs["model"]
    _range_symbols_alone(program)
    return program


def _range_symbols_alone(program: Any) -> None:
    """Restores the record of a program's sizes as it was in memory, where a size such as 32*s is a multiple.

    torch's reader gives the product a range as if it were a symbol, at which run_decompositions fails ("expected
    sympy.Symbol"), and does not give the symbol itself its value in the example.
    """
    import sympy
    from torch._export.utils import _get_shape_env_from_gm

    environment = _get_shape_env_from_gm(program.graph_module)
    if environment is None:
        return
    for expression in [e for e in environment.var_to_range if not isinstance(e, sympy.Symbol)]:
        del environment.var_to_range[expression]
    values = environment.backed_var_to_val
    for expression, value in _sizes(program):
        free = [s for s in expression.free_symbols if s not in values]
        if len(free) == 1:
            solutions = sympy.solve(expression.xreplace(values) - value, free[0])
            if len(solutions) == 1 and solutions[0].is_Integer:
                environment.add_backed_var_to_val(free[0], int(solutions[0]))


def _sizes(program: Any) -> Iterator[tuple[Any, Any]]:
    """The dynamic sizes of a program's inputs, as expressions, with their values in the example."""
    import torch

    for node in program.graph.nodes:
        if node.op == "placeholder":
            for size in getattr(node.meta.get("val"), "shape", ()):
                if isinstance(size, torch.SymInt) and size.node.has_hint():
                    yield size.node.expr, size.node.hint


def _verified(source: Any) -> Any:
    """A reader of an archive in which only example inputs could run code. Raises Unsafe for any other archive."""
    import torch

    from stages.capture import program_text  # where a file is read: importing it takes time

    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        reader = torch._C.PyTorchFileReader(source)
        names = set(reader.get_all_records())
    except RuntimeError as e:
        raise Unsafe("it is no archive of torch's") from e
    if strange := sorted(name for name in names if not RECORDS.fullmatch(name)):
        raise Unsafe(f"it holds {strange[0]}")
    if lacking := {PROGRAM, EXAMPLES, *CONFIGS} - names:
        raise Unsafe(f"it holds no {min(lacking)}")
    for name, prefix in CONFIGS.items():
        _expect_plain_tensors(name, prefix, _parsed(name, reader.get_record(name)))
    for problem in program_text.problems(_parsed(PROGRAM, reader.get_record(PROGRAM))):
        raise Unsafe(f"{PROGRAM} has {problem}")
    return reader


def _without_examples(reader: Any) -> io.BytesIO:
    import torch

    archive = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(archive)
    for name in reader.get_all_records():
        if name != IDENTITY:
            record = b"" if name == EXAMPLES else reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    archive.seek(0)
    return archive


def _parsed(name: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Unsafe(f"{name} is no JSON") from e


def _expect_plain_tensors(name: str, prefix: str, config: Any) -> None:
    """Raises Unsafe for a tensor that is pickled, or a custom object."""
    try:
        for tensor, meta in config["config"].items():
            if meta["use_pickle"] is not False or not re.fullmatch(rf"{prefix}\d+", meta["path_name"]):
                raise Unsafe(f"{tensor!r} is pickled")
    except (AttributeError, KeyError, TypeError) as e:
        raise Unsafe(f"{name} is not as torch writes it") from e
