"""An OpenVINO model to plant faults in: its operations by number, what flows between them, and changes of one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.check.faults import arrays
from benchmarks.check.models.subjects import Subject

Arrays = Mapping[str, Any]
Edge = tuple[int, int]  # the number of an operation, and of its output


@dataclass(frozen=True)
class Looked:
    """A right model, and every value in it at two sizes.

    Args:
        model: The model; changed never.
        subject: Whose it is.
        values: The values on each edge, at two sizes.
        places: The number of each operation, by its name.
    """

    model: Any
    subject: Subject
    values: tuple[Mapping[Edge, Any], Mapping[Edge, Any]] = field(repr=False)
    places: Mapping[str, int] = field(repr=False)

    @property
    def operations(self) -> list[tuple[int, Any]]:
        """Those that compute, with their numbers."""
        passive = ("Constant", "Parameter", "Result")
        return [(i, o) for i, o in enumerate(operations(self.model)) if o.get_type_name() not in passive]

    def source(self, operation: Any, place: int) -> Edge:
        """Where an operand comes from."""
        output = operation.input_value(place)
        return self.places[output.get_node().get_friendly_name()], output.get_index()

    def is_like(self, one: Edge, other: Edge) -> bool:
        """Whether two edges have the same type, and the same shape at both sizes."""
        return arrays.alike(self.values, one, other)

    def constant(self, operation: Any, place: int) -> Any:
        """The array that an operand is, or None."""
        node = operation.input_value(place).get_node()
        if node.get_type_name() != "Constant" or node.get_element_type().to_string() not in ("f32", "i64", "i32"):
            return None
        return np.array(node.data)


def operations(model: Any) -> list[Any]:
    """In an order that is the same each time that the file is read."""
    ordered: list[Any] = model.get_ordered_ops()
    return ordered


def read(file: Path) -> Any:
    import openvino

    return openvino.Core().read_model(file)


def looked_at(file: Path, subject: Subject, two_inputs: tuple[Arrays, Arrays]) -> Looked:
    """A model after two runs in which every edge is a result."""
    import openvino

    opened = read(file)
    edges = {
        (i, out.get_index()): out
        for i, o in enumerate(operations(opened))
        if o.get_type_name() not in ("Constant", "Result")
        for out in o.outputs()
        if out.get_element_type().to_string() in ("f32", "i64", "i32", "boolean")
    }
    every = openvino.Model(list(edges.values()), opened.get_parameters())
    compiled = openvino.Core().compile_model(every, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Arrays) -> Mapping[Edge, Any]:
        values = compiled(dict(inputs))
        return {edge: np.array(values[i]) for i, edge in enumerate(edges)}

    model = read(file)
    places = {o.get_friendly_name(): i for i, o in enumerate(operations(model))}
    return Looked(model, subject, (run(two_inputs[0]), run(two_inputs[1])), places)


def insert(model: Any, edge: Edge, make: Callable[[Any], Any]) -> None:
    """Operations between an edge and all that uses it.

    Args:
        model: The model.
        edge: The edge.
        make: From the edge's output to the output that takes its place.
    """
    output = operations(model)[edge[0]].output(edge[1])
    _use_instead(model, output, lambda: make(output))


def replace(model: Any, number: int, make: Callable[[list[Any]], Any]) -> None:
    """Another operation, of the same operands, in the place of one with a single output."""
    old = operations(model)[number]
    operands = [old.input_value(i) for i in range(old.get_input_size())]
    _use_instead(model, old.output(0), lambda: make(operands))


def _use_instead(model: Any, output: Any, make: Callable[[], Any]) -> None:
    """Gives everything that used an output another one, with its names where it is the model's own."""
    # Before anything is made of it, which uses it too.
    uses, names = list(output.get_target_inputs()), output.get_names()
    node = make()
    for use in uses:
        use.replace_source_output(node)
    if any(use.get_node().get_type_name() == "Result" for use in uses):
        output.get_tensor().set_names(set())
        node.get_tensor().set_names(names)
    model.validate_nodes_and_infer_types()


def take(model: Any, number: int, place: int, source: Any) -> None:
    """Another source for one operand."""
    operations(model)[number].input(place).replace_source_output(source)
    model.validate_nodes_and_infer_types()
