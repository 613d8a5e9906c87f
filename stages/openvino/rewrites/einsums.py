"""Computes operands of an Einsum that depend on no input: to some of these OpenVINO 2026.4's CPU answers wrongly."""

from __future__ import annotations

from typing import Any

from stages.openvino import library

# What has another value each time, or another one than its inputs say.
SOURCES = frozenset({"Parameter", "ReadValue", "RandomUniform", "Multinomial"})


def fold_operands(model: Any, core: Any) -> None:
    """Replaces each operand of an Einsum that depends on no input and is no constant yet by its value, in place.

    The CPU computes such an operand once, before the first request. `binh,tnh->bnit`, whose second operand it gathered
    that way from a table, as Funnel's attention does, then has nothing to do with the right result.

    Args:
        model: An openvino.Model.
        core: An openvino.Core that has the extensions of the model.
    """
    varies: set[str] = set()
    for op in model.get_ordered_ops():
        name = op.get_name()
        if op.get_type_name() in SOURCES or any(
            i.get_source_output().get_node().get_name() in varies for i in op.inputs()
        ):
            varies.add(name)
        if op.get_type_name() == "Einsum":
            for operand in op.inputs():
                source = operand.get_source_output().get_node()
                if source.get_name() not in varies and source.get_type_name() != "Constant":
                    operand.replace_source_output(_constant(operand.get_source_output(), core))


def _constant(value: Any, core: Any) -> Any:
    """A value that depends on no input, as a constant's output."""
    openvino = library.load()
    compiled = core.compile_model(openvino.Model([value], []), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return openvino.opset13.constant(compiled([])[0].copy()).output(0)
