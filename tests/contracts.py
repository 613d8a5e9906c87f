"""The kinds of import contract that import-linter does not have itself; pyproject.toml has the contracts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import grimp
from importlinter import Contract, ContractCheck, fields, output
from importlinter.contracts.layers import Layer, LayersContract, ModuleTail

ANY_FORMAT = "*"


class Floors(LayersContract):
    """Layers in which "*" means every other room with a `format.py`, so that the contract covers a new format."""

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        layers = cast("list[Layer]", self.layers)
        names = {tail.name for layer in layers for tail in layer.module_tails}
        rooms = {
            ModuleTail(child.rpartition(".")[2])
            for container in cast("set[Any]", self.containers)
            for child in graph.find_children(str(container.expression))
            if f"{child}.format" in graph.modules
        }
        missing_rooms = frozenset(room for room in rooms if room.name not in names)
        self.layers = [
            Layer(set(missing_rooms)) if any(tail.name == ANY_FORMAT for tail in layer.module_tails) else layer
            for layer in layers
        ]
        return super().check(graph, verbose)


class Unimported(Contract):
    """No module imports a stage: a file in the rooms of `container` with the name of a YAML of `yamls`."""

    container = fields.StringField()
    yamls = fields.StringField()

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        names = {path.stem for path in Path(str(self.yamls)).glob("*.yaml")}
        rooms = graph.find_children(str(self.container))
        stages = {
            module for room in rooms for module in graph.find_children(room) if module.rpartition(".")[2] in names
        }
        wrong = sorted((i, s) for s in stages for i in graph.find_modules_that_directly_import(s))
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, stage in check.metadata["wrong"]:
            output.print_error(f"{importer} is not allowed to import {stage}: it is a stage. Share a part instead.")


class Portable(Contract):
    """Modules that import only the standard library, one another and a few named packages."""

    sources = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        from importlinter.domain.helpers import module_expressions_to_modules

        packages = {m.name for m in module_expressions_to_modules(graph, cast("Any", self.sources))}
        inside = packages | {d for package in packages for d in graph.find_descendants(package)}
        free = {*cast("set[str]", self.allowed), *sys.stdlib_module_names}
        wrong = sorted(
            (module, imported)
            for module in inside
            for imported in graph.find_modules_directly_imported_by(module)
            if imported not in inside
            and imported.partition(".")[0] not in free
            and not any(imported == name or imported.startswith(f"{name}.") for name in free)
        )
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for module, imported in check.metadata["wrong"]:
            output.print_error(f"{module} is not allowed to import {imported}: it runs where that may not be.")
