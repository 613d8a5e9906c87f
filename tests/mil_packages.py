"""Core ML packages for tests: small programs of coremltools' builder and of its converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

INPUT = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)


def quiet() -> Any:
    """coremltools without its warnings and its progress bars."""
    import logging
    import os

    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools

    return coremltools


def saved(program: Any, path: Path, **how: Any) -> Path:
    """A program of the builder, or a traced module, converted and saved."""
    of_program(program, **how).save(str(path))
    return path


def of_program(program: Any, *, opset: str = "iOS18", precision: str = "FLOAT32", **more: Any) -> Any:
    """coremltools' model of a program."""
    ct = quiet()
    return ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=getattr(ct.precision, precision),
        minimum_deployment_target=getattr(ct.target, opset),
        skip_model_load=True,
        **more,
    )


def converted(net: nn.Module, *shapes: tuple[int, ...], **more: Any) -> Any:
    """coremltools' model of a module that takes float32, with inputs x0, x1, …"""
    ct = quiet()
    examples = tuple(torch.rand(s) for s in shapes)
    inputs = [ct.TensorType(f"x{i}", shape=s, dtype=np.float32) for i, s in enumerate(shapes)]
    arguments = {"inputs": inputs, "outputs": [ct.TensorType("y", dtype=np.float32)], **more}
    return of_program(torch.jit.trace(net.eval(), examples), **arguments)


def traced(net: nn.Module, path: Path, *shapes: tuple[int, ...], **more: Any) -> Path:
    """The saved package of a traced module."""
    converted(net, *shapes, **more).save(str(path))
    return path


def stored_weights(path: Path) -> dict[str, np.ndarray]:
    """A package whose outputs are its weights, each stored in another way, and their values."""
    quiet()
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(3)
    whole = {
        "int4": (types.np_int4_dtype, -8, 8),
        "uint4": (types.np_uint4_dtype, 0, 16),
        "int8": (np.int8, -128, 128),
        "uint8": (np.uint8, 0, 256),
    }
    data = {n: rng.integers(low, high, (4, 6)) for n, (_, low, high) in whole.items()}
    scale = rng.random((4, 3)).astype(np.float32)
    tables = {"uint1": types.np_uint1_dtype, "uint2": types.np_uint2_dtype, "uint3": types.np_uint3_dtype}
    tables |= {"uint6": types.np_uint6_dtype}
    indices = {n: rng.integers(0, 2 ** int(n[4:]), (4, 6)) for n in tables}
    luts = {n: rng.random((1, 1, 2 ** int(n[4:]), 1)).astype(np.float32) for n in tables}
    mask = rng.integers(0, 2, (4, 6))
    values = rng.random(int(mask.sum())).astype(np.float32)
    plain = {"float32": rng.random((4, 6)).astype(np.float32), "float16": rng.random((4, 6)).astype(np.float16)}

    @mb.program(input_specs=[mb.TensorSpec((4, 6))], opset_version=quiet().target.iOS18)
    def program(x: Any) -> Any:
        products = [mb.mul(x=x, y=plain["float32"], name="of_float32")]
        products.append(mb.mul(x=x, y=mb.cast(x=plain["float16"], dtype="fp32"), name="of_float16"))
        for name, (dtype, _, _) in whole.items():
            weight = mb.constexpr_blockwise_shift_scale(data=data[name].astype(dtype), scale=scale)
            products.append(mb.mul(x=x, y=weight, name=f"of_{name}"))
        for name, dtype in tables.items():
            weight = mb.constexpr_lut_to_dense(indices=indices[name].astype(dtype), lut=luts[name])
            products.append(mb.mul(x=x, y=weight, name=f"of_{name}"))
        weight = mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask.astype(types.np_uint1_dtype))
        products.append(mb.mul(x=x, y=weight, name="of_sparse"))
        return tuple(products)

    saved(program, path)
    dense = np.zeros((4, 6), np.float32)
    dense[mask == 1] = values
    wide = scale.repeat(2, 1)
    return {
        **plain,
        **{n: wide * data[n] for n in whole},
        **{n: luts[n].reshape(-1)[indices[n]] for n in tables},
        "sparse": dense,
    }


def nested_blocks(path: Path) -> Path:
    """Doubles x until its sum is 100 or more, then adds or subtracts 1, depending on a second input."""
    quiet()
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    @mb.program(input_specs=[mb.TensorSpec((2, 2)), mb.TensorSpec((1,))], opset_version=quiet().target.iOS17)
    def program(x: Any, way: Any) -> Any:
        doubled = mb.while_loop(
            _cond=lambda v: mb.less(x=mb.reduce_sum(x=v), y=100.0),
            _body=lambda v: (mb.mul(x=v, y=2.0),),
            loop_vars=(x,),
        )
        up = mb.squeeze(x=mb.greater(x=way, y=0.0))
        return mb.cond(
            pred=up,
            _true_fn=lambda: mb.add(x=doubled, y=1.0),
            _false_fn=lambda: mb.sub(x=doubled, y=1.0),
            name="y",
        )

    return saved(program, path, opset="iOS17")


def stateful(path: Path) -> Path:
    """Adds x to a state, then doubles the state, and returns it."""
    quiet()
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.TensorSpec((3,)), mb.StateTensorSpec((3,), dtype=types.fp16)],
        opset_version=quiet().target.iOS18,
    )
    def program(x: Any, total: Any) -> Any:
        grown = mb.add(x=mb.read_state(input=total), y=mb.cast(x=x, dtype="fp16"))
        updated = mb.coreml_update_state(state=total, value=grown)
        updated = mb.coreml_update_state(state=total, value=mb.mul(x=updated, y=np.float16(2)))
        return mb.cast(x=updated, dtype="fp32", name="y")

    return saved(program, path)


class Halves(nn.Module):
    """A linear layer with enough weights that they go into the weight file."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.factor = factor
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(36).reshape(6, 6) / 36)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.factor
