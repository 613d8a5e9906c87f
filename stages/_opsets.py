"""Which versions of ONNX's operator set the exporters of the pinned torch write, read back from their files."""

# Asked for less, the dynamo exporter logs a failed conversion and writes 18 all the same; 27 no runtime loads yet.
DYNAMO = range(18, 27)
# torch.onnx._constants.ONNX_MIN_OPSET to ONNX_MAX_OPSET. 21 to 23 carry a warning, and 20's translations.
TORCHSCRIPT = range(7, 24)
