"""Quantization, and weights that are stored compressed."""

from __future__ import annotations

import numpy as np
import torch

from mil_cases.case import IOS16, IOS17, Case, normal, t


def quantization(rng):
    x = normal(rng, 3, 4, scale=20)
    scales = np.abs(normal(rng, 4)) + np.float32(0.1)
    for name, dtype in (("int8", torch.qint8), ("uint8", torch.quint8)):
        zero = np.array(5, name)
        quantized = torch.quantize_per_tensor(t(x), 0.3, 5, dtype)
        inputs = {"input": x, "scale": np.array(0.3, np.float32), "zero_point": zero, "output_dtype": name}
        yield Case("quantize", inputs, quantized.int_repr())
        back = {"input": quantized.int_repr().numpy(), "scale": np.array(0.3, np.float32), "zero_point": zero}
        yield Case("dequantize", back, quantized.dequantize())
        zeros = rng.integers(0, 5, 4).astype(name)
        quantized = torch.quantize_per_channel(t(x), t(scales), t(zeros).int(), 1, dtype)
        axis = {"axis": np.int32(1)}
        inputs = {"input": x, "scale": scales, "zero_point": zeros, "output_dtype": name, **axis}
        yield Case("quantize", inputs, quantized.int_repr())
        back = {"input": quantized.int_repr().numpy(), "scale": scales, "zero_point": zeros, **axis}
        yield Case("dequantize", back, quantized.dequantize())
        stored = {"quantized_data": back["input"], "scale": scales, "zero_point": zeros, **axis}
        yield Case("constexpr_affine_dequantize", stored, quantized.dequantize())
    yield Case(
        "constexpr_cast", {"source_val": x.astype(np.float16), "output_dtype": "fp32"}, t(x).half().float(), IOS16
    )


def packed(values, bits):
    """The low bits of each value, one after another from a byte's lowest up."""
    flat = np.unpackbits(values.astype(np.uint8)[:, None], axis=1, bitorder="little")[:, :bits]
    return np.packbits(flat.reshape(-1), bitorder="little")


def tables(rng):
    for bits in (1, 2, 4, 6, 8):
        lut = normal(rng, 2**bits)
        indices = rng.integers(0, 2**bits, 15)
        inputs = {"indices": packed(indices, bits), "lut": lut, "shape": np.array([3, 5], np.uint32)}
        yield Case("constexpr_lut_to_dense", inputs, t(lut)[t(indices)].reshape(3, 5), IOS16)
    # The two examples of the documentation.
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
    lut = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1)
    expected = torch.tensor([[9.0, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]])
    yield Case("constexpr_lut_to_dense", {"indices": indices, "lut": lut}, expected)
    indices = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]], np.uint8)
    a, b = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    lut = np.array([a, b], np.float32).reshape(1, 1, 1, 2, 3)
    rows = [[[a[i], a[i]] for i in range(3)] + [[b[i], a[i]] for i in range(3)]]
    rows += [[[b[i], b[i]] for i in range(3)] + [[a[i], a[i]] for i in range(3)]]
    inputs = {"indices": indices, "lut": lut, "vector_axis": np.int32(1)}
    yield Case("constexpr_lut_to_dense", inputs, torch.tensor(rows))
    columns = torch.tensor([[a + a, b + a], [b + b, a + a]])
    yield Case("constexpr_lut_to_dense", {**inputs, "vector_axis": np.int32(2)}, columns)
    mask = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    stored = {"indices_mask": mask, "indices_nonzero_data": np.array([3, 1, 0, 2], np.uint8)}
    lut = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1)
    yield Case("constexpr_lut_to_sparse", {**stored, "lut": lut}, (t(mask), torch.tensor([13.0, 5, 2, 18])))
    lut = np.arange(8, dtype=np.float32).reshape(1, 1, 4, 2)
    doubled = (t(mask).repeat_interleave(2, 1), torch.tensor([6.0, 7, 2, 3, 0, 1, 4, 5]))
    yield Case("constexpr_lut_to_sparse", {**stored, "lut": lut, "vector_axis": np.int32(1)}, doubled)


def blocks(rng):
    data = rng.integers(-8, 8, (4, 6)).astype(np.int8)
    scale, offset = np.abs(normal(rng, 2, 3)), rng.integers(-8, 8, (2, 3)).astype(np.int8)
    wide = [t(v).float().repeat_interleave(2, 0).repeat_interleave(2, 1) for v in (scale, offset)]
    inputs = {"data": data, "scale": scale}
    yield Case("constexpr_blockwise_shift_scale", inputs, wide[0] * t(data))
    expected = wide[0] * (t(data) - wide[1])
    yield Case("constexpr_blockwise_shift_scale", {**inputs, "offset": offset}, expected)
    mask = rng.integers(0, 2, (4, 6)).astype(np.uint8)
    there = t(mask) != 0
    stored = {"data_mask": mask, "nonzero_data": data[mask != 0], "scale": scale, "offset": offset}
    yield Case("constexpr_sparse_blockwise_shift_scale", stored, (t(mask), expected[there]))
    values = normal(rng, int(mask.sum()))
    dense = torch.zeros(4, 6).masked_scatter(there, t(values))
    yield Case("constexpr_sparse_to_dense", {"nonzero_data": values, "mask": mask}, dense)
    flat = {"nonzero_data": values, "mask": packed(mask.reshape(-1), 1), "shape": np.array([4, 6], np.uint32)}
    yield Case("constexpr_sparse_to_dense", flat, dense, IOS17)


def cases(rng):
    for family in (quantization, tables, blocks):
        yield from family(rng)
