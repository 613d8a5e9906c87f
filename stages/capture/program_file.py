"""A file of a torch.export program, written so that nothing in it can run code, and read only when it is so.

torch.export.load unpickles example inputs, tensors of subclasses, custom objects and files of earlier versions, loads
compiled libraries, and has Python evaluate sizes, guards and names that stand in the program's JSON. Programs that are
converted need none of the first, and a few plain forms of the rest; whatever else is there is refused.

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
KNOWN = re.compile(
    rf"{re.escape(PROGRAM)}|{re.escape(EXAMPLES)}|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|archive_format|archive_version|byteorder|version|\.data/\w+"
)
# Told anew of every archive by what writes it.
IDENTITY = ".data/serialization_id"


class Unsafe(Exception):
    """A file of a program holds what could run code."""


def write(program: Any, path: Path) -> None:
    """Writes a torch.export.ExportedProgram without its example inputs.

    Raises:
        Unsafe: When it cannot be written so that it is safe to read; nothing is written.
    """
    import torch

    bare = copy.copy(program)
    bare.example_inputs = None
    torch.export.save(bare, path)
    try:
        _held(str(path))
    except Unsafe:
        path.unlink()
        raise


def read(file: Path | io.BytesIO, says: str) -> Any:
    """The torch.export.ExportedProgram in a file, without the example inputs that may be in it.

    Args:
        file: The file or its content.
        says: What it is, for messages.

    Raises:
        StageError: When it holds anything that could run code.
        RuntimeError: As torch does for what it cannot read, such as an operator that nobody has registered.
    """
    from torch.export.pt2_archive import _package

    source: Any = str(file) if isinstance(file, Path) else file
    try:
        held = _held(source)
    except Unsafe as e:
        raise StageError(
            f"{says} is not read, for it is damaged or made to run code: {e}",
            allowed="a torch.export program of plain tensors, as torch 2.9 and later save it",
            command="torch.export.save(program, FILE) where it was made, with the torch that is installed here",
        ) from e
    if held.get_record_size(EXAMPLES):
        source = _without_examples(held)
    # Not torch.export.load: for a file that this cannot read it falls back to a format of before, which is pickles.
    program = _package.load_pt2(source).exported_programs["model"]
    _range_symbols_alone(program)
    return program


def _range_symbols_alone(program: Any) -> None:
    """Has the record of a program's sizes be as it was in memory, where a size such as 32*s is a multiple.

    torch's reader ranges the product as though it were a symbol, at which run_decompositions fails ("expected
    sympy.Symbol"), and leaves the symbol itself without the value that it had in the example.
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
            found = sympy.solve(expression.xreplace(values) - value, free[0])
            if len(found) == 1 and found[0].is_Integer:
                environment.add_backed_var_to_val(free[0], int(found[0]))


def _sizes(program: Any) -> Iterator[tuple[Any, Any]]:
    """The dynamic sizes of a program's inputs, as expressions, with what they were in the example."""
    import torch

    for node in program.graph.nodes:
        if node.op == "placeholder":
            for size in getattr(node.meta.get("val"), "shape", ()):
                if isinstance(size, torch.SymInt) and size.node.has_hint():
                    yield size.node.expr, size.node.hint


def _held(source: Any) -> Any:
    """A reader of an archive in which nothing runs code but example inputs. Raises Unsafe for any other."""
    import torch

    from stages.capture import program_text  # where a file is read: importing it takes time

    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        reader = torch._C.PyTorchFileReader(source)
        names = set(reader.get_all_records())
    except RuntimeError as e:
        raise Unsafe("it is no archive of torch's") from e
    if strange := sorted(name for name in names if not KNOWN.fullmatch(name)):
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

    made = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(made)
    for name in reader.get_all_records():
        if name != IDENTITY:
            held = b"" if name == EXAMPLES else reader.get_record(name)
            writer.write_record(name, held, len(held))
    writer.write_end_of_file()
    made.seek(0)
    return made


def _parsed(name: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Unsafe(f"{name} is no JSON") from e


def _expect_plain_tensors(name: str, prefix: str, config: Any) -> None:
    """That no tensor is pickled, and none is a custom object."""
    try:
        for tensor, meta in config["config"].items():
            if meta["use_pickle"] is not False or not re.fullmatch(rf"{prefix}\d+", meta["path_name"]):
                raise Unsafe(f"{tensor!r} is pickled")
    except (AttributeError, KeyError, TypeError) as e:
        raise Unsafe(f"{name} is not as torch writes it") from e
