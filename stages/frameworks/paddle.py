"""PaddlePaddle programs, executed by Paddle Inference on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.artifact import Artifact
from stages.frameworks import formats as file_formats

if TYPE_CHECKING:
    from stages.formats.session import Arrays

REQUIRES = ("paddle", "numpy")


class PaddleSession:
    """A predictor that takes and returns tensors by the program's own names."""

    computes_in = "float32"

    def __init__(self, artifact: Artifact) -> None:
        from paddle import inference

        program = file_formats.file_of(artifact)
        config = inference.Config(str(program), str(program.with_suffix(file_formats.PARAMETERS)))
        config.disable_gpu()
        config.disable_glog_info()
        config.switch_ir_optim(False)  # the program itself, not an optimised one
        self._predictor = inference.create_predictor(config)

    def __call__(self, inputs: Arrays) -> Arrays:
        for name, value in inputs.items():
            self._predictor.get_input_handle(name).copy_from_cpu(value)
        self._predictor.run()
        names = self._predictor.get_output_names()
        return {name: self._predictor.get_output_handle(name).copy_to_cpu() for name in names}


def open_session(artifact: Artifact, compute: str) -> PaddleSession:
    """Loads a program. Raises what Paddle raises."""
    return PaddleSession(artifact)
