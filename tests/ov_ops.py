"""A user's package for OpenVINO: a conversion rule for a PyTorch operator, and an operation of its own."""

from __future__ import annotations

import numpy as np
import openvino
from openvino import opset15
from openvino.frontend.onnx import ConversionExtension as OnnxExtension
from openvino.frontend.pytorch import ConversionExtension


def _scale_add(context):
    x, y, k = context.get_input(0), context.get_input(1), context.get_values_from_const_input(2)
    return opset15.add(opset15.multiply(x, opset15.constant(np.float32(k))), y).outputs()


# The same rule under the names of torch.export and of torch.jit.
exported = ConversionExtension("drydock_test.scale_add.default", _scale_add)
traced = ConversionExtension("drydock_test::scale_add", _scale_add)


class ScaleAdd(openvino.Op):
    """x * 3 + y, executed in Python."""

    class_type_info = openvino.DiscreteTypeInfo("ScaleAdd", "drydock")

    def __init__(self, inputs=None):
        super().__init__(self)
        if inputs is not None:
            self.set_arguments(inputs)
            self.constructor_validate_and_infer_types()

    def validate_and_infer_types(self):
        self.set_output_type(0, self.get_input_element_type(0), self.get_input_partial_shape(0))

    def clone_with_new_inputs(self, inputs):
        return ScaleAdd(inputs)

    def get_type_info(self):
        return ScaleAdd.class_type_info

    def evaluate(self, outputs, inputs):
        outputs[0].shape = inputs[0].shape
        outputs[0].data[:] = inputs[0].data * 3 + inputs[1].data
        return True

    def has_evaluate(self):
        return True

    def visit_attributes(self, visitor):
        return True


kept = ConversionExtension(
    "drydock_test::scale_add", lambda context: ScaleAdd([context.get_input(0), context.get_input(1)]).outputs()
)

relu = OnnxExtension("MyRelu", "my", lambda context: opset15.relu(context.get_input(0)).outputs())
