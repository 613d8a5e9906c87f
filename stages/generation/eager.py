"""The PyTorch model continuing prompts: recorded as the reference, and timed beside artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Artifact
from stages.formats.session import How
from stages.interface import outputs
from stages.interface.generation import Generation
from stages.interface.interface import Interface
from stages.portable import generating
from stages.portable.generating import Rows
from stages.reference.eager_model import EagerModel

if TYPE_CHECKING:
    import numpy as np

    from stages.formats.session import Arrays

    Array = np.ndarray[Any, Any]

REQUIRES = ("torch", "numpy", "transformers")


class Eager:
    """`generate` without sampling; our own loop for a module without `generate`.

    Args:
        module: A module with transformers' `generate`, itself or in `decoder`.
        generation: Its properties as a decoder.
        interface: Its inputs and outputs.

    Attributes:
        steps: The logits [rows, vocabulary] of each step of the last call.
    """

    computes_in = "float32"
    properties: Mapping[str, str] = {}

    def __init__(self, module: Any, generation: Generation, interface: Interface) -> None:
        self._ask, self._interface = EagerModel(module, interface.call), interface
        self._decoder = getattr(module, "decoder", module)
        self._generates = hasattr(self._decoder, "generate")
        self._generation, self._ends = generation, list(generation.eos)
        self._before: dict[str, Any] = {}
        self.steps: list[Any] = []

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """The continuation of each prompt, at most `new` tokens, without the token that ends it."""
        self.steps = []
        return self._generated(prompts, new) if self._generates else self._by_loop(prompts, new)

    def prepare(self, inputs: Arrays) -> Callable[[], object]:
        """A function that generates once, for timing: see stages/generation/session.py."""
        prompts, new = inputs["prompts"].tolist(), int(inputs["new"][0])
        return lambda: self(prompts, new)

    def _generated(self, prompts: Rows, new: int) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig

        fills = self._generation.fills
        ids, mask = (torch.from_numpy(array) for array in generating.padded(prompts, fills))
        plain = GenerationConfig(
            max_new_tokens=new,
            do_sample=False,
            use_cache=True,
            eos_token_id=self._ends or None,
            pad_token_id=fills,
            return_dict_in_generate=True,
            output_logits=True,
        )
        own, self._decoder.generation_config = self._decoder.generation_config, plain
        try:
            with torch.inference_mode():
                generated = self._decoder.generate(input_ids=ids, attention_mask=mask)
        finally:
            self._decoder.generation_config = own
        self.steps = [step.float().numpy() for step in generated.logits]
        return [generating.ended(row, self._ends) for row in generated.sequences[:, ids.shape[1] :].tolist()]

    def _by_loop(self, prompts: Rows, new: int) -> list[list[int]]:
        return generating.greedy(_Recording(self), prompts, new, self._ends, self._generation.fills)

    def start(self, rows: int) -> None:
        """See `stages.portable.generating.Decoder`."""
        import torch

        self._before = {}
        for cache in self._generation.cache:
            spec = self._interface.inputs[cache.input]
            sizes = [rows, *(0 if axis == cache.axis else size for axis, size in enumerate(spec.shape) if axis)]
            self._before[cache.input] = torch.zeros(sizes, dtype=getattr(torch, spec.dtype))

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """See `stages.portable.generating.Decoder`."""
        import torch

        arrays = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        tensors = {n: torch.from_numpy(v) for n, v in arrays.items() if n in self._interface.inputs}
        with torch.inference_mode():
            returned = self._ask.call({**tensors, **self._before})
        by_name = {name: outputs.at(returned, tuple(o.path)) for name, o in self._interface.outputs.items()}
        self._before = {c.input: by_name[c.output] for c in self._generation.cache}
        logits: Array = by_name["logits"].float().numpy()
        return logits


class _Recording:
    """A model that records the logits of each step."""

    def __init__(self, model: Eager) -> None:
        self._model = model

    def start(self, rows: int) -> None:
        self._model.start(rows)

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        logits_ = self._model.logits(ids, mask, positions)
        self._model.steps.append(logits_[:, -1])
        return logits_


def open_session(artifact: Artifact, how: How) -> Eager:
    """The module of an artifact. The number of threads is set for this process."""
    import torch

    torch.set_num_threads(how.threads or torch.get_num_threads())
    return Eager(artifact.live, Generation.read(artifact), Interface.read(artifact))
