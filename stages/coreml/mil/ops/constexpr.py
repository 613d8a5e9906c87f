"""Decompression of weights. Source: iOS16 constexpr_ops, iOS18 compression.

Elements of less than a byte arrive here as one byte each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.coreml.mil import blob
from stages.coreml.mil.ops.elementwise import cast
from stages.coreml.mil.ops.quantization import dequantize
from stages.coreml.mil.ops.table import IOS16, IOS18, Array, ints, mil


@mil(since=IOS16)
def constexpr_affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: int) -> Array:
    """scale (data - zero_point), one for each place of an axis or one for all."""
    return dequantize(quantized_data, scale, zero_point, axis)


@mil(since=IOS16)
def constexpr_cast(source_val: Array, output_dtype: str) -> Array:
    """The values in another type."""
    return cast(source_val, output_dtype)


@mil(since=IOS16, exact=True)
def constexpr_lut_to_dense(indices: Array, lut: Array, shape: Any) -> Array:
    """The values of a table at packed indices, which have just enough bits for the table."""
    bits = len(lut).bit_length() - 1
    sizes = tuple(ints(shape))
    at = indices.reshape(sizes) if bits == 8 else blob.unpacked(indices, f"uint{bits}", sizes)
    return lut[at]


@mil(since=IOS16, exact=True)
def constexpr_sparse_to_dense(nonzero_data: Array, mask: Array, shape: Any) -> Array:
    """Values where a packed mask has a bit, 0 elsewhere."""
    return _dense(nonzero_data, blob.unpacked(mask, "uint1", tuple(ints(shape))))


def _dense(values: Array, mask: Array) -> Array:
    out = np.zeros(mask.shape, values.dtype)
    out[mask != 0] = values
    return out


def _spread(values: Array, sizes: tuple[int, ...]) -> Array:
    """One value for each block, repeated to the full sizes."""
    for axis, (have, want) in enumerate(zip(values.shape, sizes, strict=True)):
        values = np.repeat(values, want // have, axis)
    return values


@mil(since=IOS18)
def constexpr_blockwise_shift_scale(data: Array, scale: Array, offset: Any = None) -> Array:
    """scale (data - offset), one of each for a block."""
    shift = 0 if offset is None else _spread(offset.astype(np.float32), data.shape)
    return _spread(scale, data.shape) * (data.astype(np.float32) - shift)


@mil("constexpr_lut_to_dense", since=IOS18, exact=True)
def lut_to_dense_by_blocks(indices: Array, lut: Array, vector_axis: Any = None) -> Array:
    """The values from each block's own table [*blocks, palettes, vector]; vectors lie along an axis."""
    blocks = zip(np.indices(indices.shape, sparse=True), indices.shape, lut.shape, strict=False)
    own = (place // (size // count) for place, size, count in blocks)
    values = lut[(*own, indices)]
    if values.shape[-1] == 1:
        return values[..., 0]
    axis = int(vector_axis) % indices.ndim
    sizes = [n * (values.shape[-1] if a == axis else 1) for a, n in enumerate(indices.shape)]
    return np.moveaxis(values, -1, axis + 1).reshape(sizes)


@mil("constexpr_sparse_to_dense", since=IOS18, exact=True)
def sparse_to_dense_by_elements(nonzero_data: Array, mask: Array) -> Array:
    """Values where a mask has a 1, 0 elsewhere."""
    return _dense(nonzero_data, mask)


@mil(since=IOS18, exact=True)
def constexpr_lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: Any = None
) -> tuple[Array, Array]:
    """The mask of the stored elements, and the table values at the stored indices."""
    whole = lut_to_dense_by_blocks(_dense(indices_nonzero_data, indices_mask), lut, vector_axis)
    mask = indices_mask if lut.shape[-1] == 1 else np.repeat(indices_mask, lut.shape[-1], int(vector_axis))
    return mask, whole[mask != 0]


@mil(since=IOS18)
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Any = None
) -> tuple[Array, Array]:
    """The mask of the stored elements, and their scale (data - offset)."""
    whole = constexpr_blockwise_shift_scale(_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, whole[data_mask != 0]
