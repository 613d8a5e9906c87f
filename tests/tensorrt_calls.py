"""Finds every use of TensorRT's Python API in source code, and compares it with the genuine bindings.

Types follow from the code's own annotations and the bindings' signatures: `builder: trt.Builder`, so
`builder.create_network(…)` is an INetworkDefinition. A name of the API on an object of unknown type is reported too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MODULE = "the module"
# In signatures, pybind11 uses the C++ name of a class that it had not registered yet.
ALIASES = {"nvonnxparser::IParserError": "ParserError"}
# Names of the API that other classes have as well.
COMMON = {"name", "shape", "dtype", "data", "logger", "code", "write", *dir(list), *dir(dict)}


class Uses(ast.NodeVisitor):
    """Walks one file.

    Args:
        surface: What the bindings have; see tensorrt_surface.py.
        returns: What functions of ours return, by name, where that is of the API.
    """

    def __init__(self, surface: dict, returns: dict[str, str]) -> None:
        self.classes, self.functions, self.returns = surface["classes"], surface["functions"], returns
        self.known = {n for c in self.classes.values() for n in (*c["methods"], *c["properties"]) if n[0] != "_"}
        self.types: dict[str, str] = {}
        self.used: set[str] = set()
        self.wrong: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        before = dict(self.types)
        for argument in (*node.args.args, *node.args.kwonlyargs):
            self._declare(argument.arg, argument.annotation)
        self.generic_visit(node)
        self.types = {n: t for n, t in self.types.items() if n in before or n.startswith("self.")}

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in map(self.type_of, node.bases):
            if base and base.startswith("class "):
                for method in (m for m in node.body if isinstance(m, ast.FunctionDef) and m.name != "__init__"):
                    self._overrides(base.removeprefix("class "), method)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._declare(ast.unparse(node.target), node.annotation)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            kind = self.type_of(node.value)
            if isinstance(target, ast.Attribute) and (owner := self.type_of(target.value)) in self.classes:
                if self.classes[owner]["properties"].get(target.attr) != "settable":
                    self._tell(node, f"{owner}.{target.attr} cannot be set")
            elif kind and isinstance(target, (ast.Name, ast.Attribute)):
                self.types[ast.unparse(target)] = kind

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        self.type_of(node)
        if node.attr in self.known - COMMON and self.type_of(node.value) is None:
            self._tell(node, f"{ast.unparse(node)} looks like TensorRT's, on something of no known type")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = self.type_of(node.func)
        if called and (signatures := self._signatures(called)) and not any(_fits(node, s) for s in signatures):
            self._tell(node, f"{ast.unparse(node)} is none of {signatures}")

    def type_of(self, node: ast.expr) -> str | None:
        """MODULE, "class X", "X" for an object of that class, "X.method", or None."""
        if isinstance(node, ast.Name):
            return MODULE if node.id in ("trt", "tensorrt") else self.types.get(node.id)
        if isinstance(node, ast.Call):
            return self._returned(node)
        if not isinstance(node, ast.Attribute):
            return None
        if ast.unparse(node) in self.types:
            return self.types[ast.unparse(node)]
        owner = self.type_of(node.value)
        return self._member(node, owner) if owner else None

    def _member(self, node: ast.Attribute, owner: str) -> str | None:
        name = node.attr
        if name.startswith("__"):
            return None
        if owner == MODULE:
            self.used.add(name)
            if name not in self.classes and name not in self.functions:
                return self._tell(node, f"there is no tensorrt.{name}")
            return f"class {name}" if name in self.classes else name
        members = self.classes.get(owner.removeprefix("class "))
        if members is None:
            return None
        self.used.add(f"{owner.removeprefix('class ')}.{name}")
        if owner.startswith("class ") and name in members["constants"]:
            return None
        if name not in members["methods"] and name not in members["properties"]:
            return self._tell(node, f"{owner} has no {name}")
        return f"{owner}.{name}" if name in members["methods"] else None

    def _returned(self, node: ast.Call) -> str | None:
        called = self.type_of(node.func)
        if called is None:
            name = ast.unparse(node.func)
            return MODULE if name == "tensorrt_module" else self.returns.get(name)
        if called.startswith("class "):
            return called.removeprefix("class ")
        kinds = {s.rpartition(" -> ")[2] for s in self._signatures(called)}
        kinds = {ALIASES.get(t, t) for t in kinds}
        return kinds.pop() if len(kinds) == 1 and kinds <= self.classes.keys() else None

    def _signatures(self, called: str) -> list[str]:
        if called.startswith("class "):
            return self.classes[called.removeprefix("class ")]["methods"].get("__init__", [])
        owner, _, method = called.rpartition(".")
        signatures = self.classes[owner]["methods"][method] if owner in self.classes else self.functions.get(method, [])
        return list(signatures)

    def _declare(self, name: str, annotation: ast.expr | None) -> None:
        if annotation is not None and (match := re.search(r"\btrt\.(\w+)", ast.unparse(annotation))):
            self.types[name] = match[1]
            if match[1] not in self.classes:
                self._tell(annotation, f"there is no tensorrt.{match[1]}")

    def _overrides(self, base: str, method: ast.FunctionDef) -> None:
        signatures = self.classes[base]["methods"].get(method.name)
        if signatures is None:
            self._tell(method, f"{base} calls no {method.name}")
        elif not any(len(_parameters(s)) == len(method.args.args) - 1 for s in signatures):
            self._tell(method, f"{base} calls {method.name} with {signatures}")

    def _tell(self, node: ast.AST, what: str) -> None:
        self.wrong.append(f"line {getattr(node, 'lineno', 0)}: {what}")


def _parameters(signature: str) -> dict[str, bool]:
    """The parameters of a signature, self apart, each with whether it may be left out."""
    inner = signature.partition("(")[2].rpartition(") -> ")[0]
    parts = re.split(r", (?=\w+: )", inner)
    return {p.partition(":")[0]: " = " in p for p in parts if p and not p.startswith("self:")}


def _fits(call: ast.Call, signature: str) -> bool:
    parameters = _parameters(signature)
    if any(isinstance(a, ast.Starred) for a in call.args):
        return True
    passed = [*list(parameters)[: len(call.args)], *(k.arg for k in call.keywords)]
    return (
        len(call.args) <= len(parameters)
        and {*passed} <= parameters.keys()
        and all(o or n in passed for n, o in parameters.items())
    )


def returns(sources: Iterator[str]) -> dict[str, str]:
    """The functions that say in their annotation that they return something of the API."""
    nodes = (
        n for source in sources for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.returns
    )
    return {n.name: m[1] for n in nodes if (m := re.fullmatch(r"trt\.(\w+)", ast.unparse(n.returns)))}


def users(root: Path) -> list[Path]:
    """The files that use the API."""
    spoken = re.compile(r"\bimport tensorrt\b|\btensorrt_module\b|\btensorrt\.[A-Z]")
    return sorted(p for p in root.rglob("*.py") if spoken.search(p.read_text()))
