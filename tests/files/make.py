"""Makes the small files beside it: one tiny network, saved by each framework, and what that framework itself answers.

    python tests/files/make.py tensorflow    # frozen.pb, saved_model/, lite.tflite
    python tests/files/make.py paddle        # paddle.pdmodel, paddle.pdiparams
    python tests/files/make.py torch         # torch.onnx

Each in an environment that has the framework; README.md has the versions. Beside each file goes NAME.expected.npz, with
the inputs and outputs at two batch sizes: "2/in", "2/out", "3/in", "3/out".
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BATCHES = (2, 3)
CHANNELS, SIZE, FEATURES, CLASSES = 3, 8, 4, 5

rng = np.random.default_rng(0)
KERNEL = rng.normal(0, 0.3, (FEATURES, CHANNELS, 3, 3)).astype(np.float32)  # as torch and Paddle have it
HEAD = rng.normal(0, 0.5, (FEATURES, CLASSES)).astype(np.float32)
BIAS = rng.normal(0, 0.5, CLASSES).astype(np.float32)


def record(name: str, ask: Callable[[np.ndarray], np.ndarray], *, channels_last: bool = False) -> None:
    """Writes what a framework answers to seeded images at each batch size."""
    arrays = {}
    for batch in BATCHES:
        shape = (batch, SIZE, SIZE, CHANNELS) if channels_last else (batch, CHANNELS, SIZE, SIZE)
        images = np.random.default_rng(batch).random(shape, dtype=np.float32)
        arrays |= {f"{batch}/in": images, f"{batch}/out": np.asarray(ask(images))}
    np.savez_compressed(HERE / f"{name}.expected.npz", **arrays)


def tensorflow() -> None:
    """A frozen graph, a SavedModel and a TensorFlow Lite model; images are channels-last there."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(KERNEL.transpose(2, 3, 1, 0))
            self.head = tf.Variable(HEAD)
            self.bias = tf.Variable(BIAS)

        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, CHANNELS], tf.float32, "image")])
        def __call__(self, image):
            features = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "SAME"))
            return {"logits": tf.linalg.matmul(tf.reduce_mean(features, (1, 2)), self.head) + self.bias}

    net = Net()
    function = net.__call__.get_concrete_function()
    shutil.rmtree(HERE / "saved_model", ignore_errors=True)
    tf.saved_model.save(net, HERE / "saved_model", signatures=function)
    signature = tf.saved_model.load(HERE / "saved_model").signatures["serving_default"]
    record("saved_model", lambda images: signature(image=tf.constant(images))["logits"], channels_last=True)

    frozen = convert_variables_to_constants_v2(function)
    (HERE / "frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString(deterministic=True))
    record("frozen", lambda images: frozen(tf.constant(images))[0], channels_last=True)

    (HERE / "lite.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(HERE / "saved_model")).convert())
    lite = tf.lite.Interpreter(str(HERE / "lite.tflite"))

    def ask(images: np.ndarray) -> np.ndarray:
        place = lite.get_input_details()[0]["index"]
        lite.resize_tensor_input(place, images.shape)
        lite.allocate_tensors()
        lite.set_tensor(place, images)
        lite.invoke()
        return lite.get_tensor(lite.get_output_details()[0]["index"])

    record("lite", ask, channels_last=True)


def paddle() -> None:
    """A program and its parameters, in the format before PIR, which Paddle 3 writes only when it is told to."""
    os.environ["FLAGS_enable_pir_api"] = "0"  # noqa: SIM112 (Paddle's own name)
    import paddle

    class Net(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = paddle.nn.Conv2D(CHANNELS, FEATURES, 3, padding=1, bias_attr=False)
            self.head = paddle.nn.Linear(FEATURES, CLASSES)
            self.conv.weight.set_value(KERNEL)
            self.head.weight.set_value(HEAD)
            self.head.bias.set_value(BIAS)

        def forward(self, image):
            return self.head(paddle.nn.functional.relu(self.conv(image)).mean([2, 3]))

    net = Net()
    net.eval()
    spec = [paddle.static.InputSpec([None, CHANNELS, SIZE, SIZE], "float32", "image")]
    paddle.jit.save(net, str(HERE / "paddle"), input_spec=spec)
    forget_where(HERE / "paddle.pdmodel")
    (HERE / "paddle.pdiparams.info").unlink(missing_ok=True)  # names for training; no reader needs it
    saved = paddle.jit.load(str(HERE / "paddle"))
    record("paddle", lambda images: saved(paddle.to_tensor(images)).numpy())


def forget_where(path: Path) -> None:
    """Takes out the stack traces that Paddle writes into each operator, paths of the machine and all."""
    from paddle.base.proto import framework_pb2

    program = framework_pb2.ProgramDesc.FromString(path.read_bytes())
    for op in (op for block in program.blocks for op in block.ops):
        kept = [a for a in op.attrs if a.name != "op_callstack"]
        del op.attrs[:]
        op.attrs.extend(kept)
    path.write_bytes(program.SerializeToString(deterministic=True))


def torch() -> None:
    """An ONNX graph with names as exporters like them, dots and all."""
    import onnxruntime
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.head, self.bias = (torch.nn.Parameter(torch.from_numpy(v)) for v in (KERNEL, HEAD, BIAS))

        def forward(self, image):
            features = torch.nn.functional.conv2d(image, self.kernel, padding=1).relu()
            return features.mean((2, 3)) @ self.head + self.bias

    path = HERE / "torch.onnx"
    torch.onnx.export(
        Net().eval(),
        (torch.zeros(2, CHANNELS, SIZE, SIZE),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["image.1"],
        output_names=["logits"],
        dynamic_axes={"image.1": {0: "batch"}, "logits": {0: "batch"}},
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    record("torch", lambda images: session.run(None, {"image.1": images})[0])


if __name__ == "__main__":
    {"tensorflow": tensorflow, "paddle": paddle, "torch": torch}[sys.argv[1]]()
