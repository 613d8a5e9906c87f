"""Opens ONNX files from elsewhere: names, sizes and ranges for the dimensions that their author left open."""
