"""Rewrites a bfloat16 graph so that onnxruntime's CPU can run it, which has next to no bfloat16 kernels.

Every operation computes in float32, and each of its results is rounded to bfloat16. That is what ONNX defines; sums
inside an operation are not rounded, as in hardware. A runtime that fuses operations rounds less often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.onnx import file as onnx_file

if TYPE_CHECKING:
    import onnx

SAYS = "each result rounded, computed in float32: onnxruntime's CPU has no kernels"


def emulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in float32 that rounds every bfloat16 result to bfloat16.

    Inputs and outputs keep their names and types. Raises what onnx raises for a graph whose types it cannot infer.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.shape_inference.infer_shapes(model, check_type=True)
    for tensor in onnx_file.tensors(model):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
    for graph in list(onnx_file.graphs(model)):
        values = (*graph.value_info, *graph.input, *graph.output)
        narrow = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.BFLOAT16}
        for value in values:
            if value.name in narrow:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        nodes = list(graph.node)
        del graph.node[:]
        for node in nodes:
            rounded = [o for o in node.output if o in narrow]
            node.output[:] = [f"{o}/exact" if o in narrow else o for o in node.output]
            for attribute in node.attribute:
                if attribute.name in ("to", "dtype") and attribute.i == TensorProto.BFLOAT16:
                    attribute.i = TensorProto.FLOAT
            graph.node.append(node)
            for name in rounded:
                graph.node.append(
                    helper.make_node("Cast", [f"{name}/exact"], [f"{name}/rounded"], to=TensorProto.BFLOAT16)
                )
                graph.node.append(helper.make_node("Cast", [f"{name}/rounded"], [name], to=TensorProto.FLOAT))
    return model
