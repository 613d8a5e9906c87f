"""Which versions of ONNX's operator set the exporters of the pinned torch write, read back from their files."""

from __future__ import annotations

from pipeline.errors import Problem

# Asked for less, the dynamo exporter logs a failed conversion and writes 18 all the same; 27 no runtime loads yet.
DYNAMO = range(18, 27)
# torch.onnx._constants.ONNX_MIN_OPSET to ONNX_MAX_OPSET. 21 to 23 carry a warning, and 20's translations.
TORCHSCRIPT = range(7, 24)
# By the capture that leads to the exporter, in the order in which they are tried.
OF_CAPTURE = {"export": DYNAMO, "trace": TORCHSCRIPT, "script": TORCHSCRIPT}
EITHER = range(TORCHSCRIPT.start, DYNAMO.stop)


def either_problems(opset: int) -> list[Problem]:
    """What is wrong with an opset that any exporter may write."""
    return problems(opset, "no exporter writes", EITHER, range(0), "")


def problems(opset: int, refusal: str, written: range, elsewhere: range, capture: str) -> list[Problem]:
    """What is wrong with an opset, and what serves it.

    Args:
        opset: As it was asked for.
        refusal: Who does not write it, such as "no exporter writes".
        written: What that one writes.
        elsewhere: What another writes.
        capture: How one gets there.
    """
    if opset in written:
        return []
    other = opset in elsewhere
    nearest = min(max(opset, written.start), written.stop - 1)
    return [
        Problem(
            f"opset is {opset}, which {refusal}",
            allowed=f"{written.start} to {written.stop - 1}" + (f"; capture={capture} writes it" if other else ""),
            command=f"opset={opset} capture={capture}" if other else f"opset={nearest}",
        )
    ]
