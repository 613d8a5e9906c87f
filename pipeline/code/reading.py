"""One source file: a digest of what it does, and what it refers to.

Comments, docstrings and formatting do not count. Neither does the place of a file of `stages` that another names, so
that files may move: what it holds counts instead. See closure.py.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = "stages"
DOTTED = re.compile(rf"{PACKAGE}(\.\w+)+")
# How a format declares its parts, and how code asks for one; see pipeline/formats.py.
FORMATS, FORMAT, PART = "FORMATS", "Format", "part"


@dataclass(frozen=True)
class Source:
    """What the key of a stage needs of one file.

    Args:
        digest: The digest of its syntax tree, 32 hex digits; every reference below is a blank in it.
        references: The files of `stages` that it names, in order: a module, and the name that is taken from it, or "".
        data: Names of the files beside it that it reads, such as "operators.json".
        classes: Names of its classes.
        parts: Which parts of a format it asks for, such as "runtime".
        formats: For a `format.py`: by kind of artifact, the file of each part.
    """

    digest: str
    references: Sequence[tuple[str, str]] = ()
    data: Sequence[str] = ()
    classes: Sequence[str] = ()
    parts: Sequence[str] = ()
    formats: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read(path: Path) -> Source:
    """Reads a file. Raises OSError, and SyntaxError for what is no Python."""
    tree = ast.parse(path.read_bytes(), path)
    reader = _Reader(path.parent)
    text = json.dumps(reader.plain(tree), separators=(",", ":"))
    return Source(
        digest=hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32],
        references=tuple(dict.fromkeys(reader.references)),
        data=tuple(dict.fromkeys(reader.data)),
        classes=tuple(n.name for n in tree.body if isinstance(n, ast.ClassDef)),
        parts=tuple(sorted(reader.parts)),
        formats=_formats(tree),
    )


class _Reader:
    """Turns a syntax tree into plain JSON that is the same in every version of Python, and notes what it refers to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.references: list[tuple[str, str]] = []
        self.data: list[str] = []
        self.parts: set[str] = set()

    def plain(self, node: Any) -> Any:
        """A node as a list of its type and of the fields that are set; a value as its text."""
        if isinstance(node, ast.AST):
            return self._import(node) or self._text(node) or self._node(node)
        if isinstance(node, list):
            return [self.plain(item) for item in node if not _is_for_types_alone(item)]
        return repr(node)

    def _node(self, node: ast.AST) -> list[Any]:
        if isinstance(node, ast.Call):
            self.parts.update(_parts(node))
        fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            fields["body"] = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        if isinstance(node, ast.Constant):
            fields = {"value": node.value}  # without its kind: u"" is ""
        return [type(node).__name__, *([name, self.plain(value)] for name, value in sorted(fields.items()))]

    def _import(self, node: ast.AST) -> list[Any] | None:
        """An import from `stages` without the place it names: the names that it binds."""
        if isinstance(node, ast.ImportFrom) and not node.level and _is_ours(node.module or ""):
            self.references += [(str(node.module), alias.name) for alias in node.names]
            return ["from", [alias.asname or alias.name for alias in node.names]]
        if isinstance(node, ast.Import) and any(_is_ours(alias.name) for alias in node.names):
            self.references += [(alias.name, "") for alias in node.names if _is_ours(alias.name)]
            return ["import", [alias.asname or ("" if _is_ours(alias.name) else alias.name) for alias in node.names]]
        return None

    def _text(self, node: ast.AST) -> list[Any] | None:
        """A text that names a module of `stages`, for what is imported or started by its name."""
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            return None
        if re.fullmatch(r"\w[\w-]*\.\w+", node.value) and not node.value.endswith(".py"):
            self.data += [node.value] if (self._folder / node.value).is_file() else []
        if not DOTTED.fullmatch(node.value):
            return None
        self.references.append((node.value, ""))
        return ["module"]


def _is_ours(module: str) -> bool:
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


def _is_for_types_alone(node: Any) -> bool:
    """Whether a statement is for type checkers only and never runs: if TYPE_CHECKING."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    return (node.test.id if isinstance(node.test, ast.Name) else getattr(node.test, "attr", "")) == "TYPE_CHECKING"


def _parts(call: ast.Call) -> Iterator[str]:
    """The part of a format that a call asks for: `formats.part(kind, "runtime")`."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name == PART and len(call.args) == 2 and isinstance(call.args[1], ast.Constant):
        yield str(call.args[1].value)


def _formats(tree: ast.Module) -> dict[str, dict[str, str]]:
    """The declarations of a `format.py`: FORMATS = {"onnx": Format(runtime="runtime")}."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == [FORMATS]:
            declared = node.value if isinstance(node.value, ast.Dict) else ast.Dict([], [])
            return {
                str(getattr(kind, "value", "")): {
                    str(k.arg): str(k.value.value)
                    for k in (declaration.keywords if isinstance(declaration, ast.Call) else ())
                    if isinstance(k.value, ast.Constant) and isinstance(k.value.value, str)
                }
                for kind, declaration in zip(declared.keys, declared.values, strict=True)
            }
    return {}
