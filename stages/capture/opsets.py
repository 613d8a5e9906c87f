"""Which versions of ONNX's operator set the exporters of the pinned torch write, read back from their files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import Problem
from pipeline.stage import Setting

# Asked for less, the dynamo exporter logs a failed conversion and writes 18 all the same; 27 no runtime loads yet.
DYNAMO = range(18, 27)
# torch.onnx._constants.ONNX_MIN_OPSET to ONNX_MAX_OPSET. 21 to 23 carry a warning, and 20's translations.
TORCHSCRIPT = range(7, 24)
# By the capture that leads to the exporter, in the order in which they are tried.
OF_CAPTURE = {"export": DYNAMO, "trace": TORCHSCRIPT, "script": TORCHSCRIPT}
EITHER = range(TORCHSCRIPT.start, DYNAMO.stop)


@dataclass(frozen=True)
class Opset(Setting):
    """An opset that an exporter writes.

    Args:
        refusal: The message for other opsets, such as "no exporter writes".
        written: The opsets that this exporter writes.
        elsewhere: The opsets that another exporter writes.
        capture: The capture that leads to that exporter.
    """

    refusal: str
    written: range
    elsewhere: range = range(0)
    capture: str = ""

    def problems(self, name: str, value: int) -> Iterable[Problem]:
        if value in self.written:
            return
        least, most = self.written.start, self.written.stop - 1
        allowed, command = f"{least} to {most}", f"opset={min(max(value, least), most)}"
        if value in self.elsewhere:
            allowed += f"; capture={self.capture} writes it"
            command = f"opset={value} capture={self.capture}"
        yield Problem(f"opset is {value}, which {self.refusal}", allowed, command)


ANY = Opset("no exporter writes", EITHER)
BY_DYNAMO = Opset("the dynamo exporter does not write", DYNAMO, TORCHSCRIPT, "trace")
BY_TORCHSCRIPT = Opset("the TorchScript exporter does not write", TORCHSCRIPT, DYNAMO, "export")
