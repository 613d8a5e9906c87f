"""Checks a language model on the device that it was delivered to: it goes on with prompts as the original did.

    python selfcheck.py               through openvino_genai, as the folder is meant to be loaded
    python selfcheck.py --ours        by a loop of this script over the graph, through openvino
    python selfcheck.py --threads 2

It needs Python 3.10 or later, numpy, and openvino-genai or openvino. It reads artifact.json and tokens.json beside
itself.
Exit codes: 0 it agrees, 2 wrong usage, 3 it cannot run, 4 the runtime or numpy is not installed, 5 it does not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.portable.generating import Rows, Text, ended, filling, greedy, padded
from stages.portable.handed_over import failed, module
from stages.portable.selfcheck_tokens import Runtime, main

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GENAI, OPENVINO = "openvino_genai", "openvino"
FILE, DEVICE, PRECISION, BEAMS = "openvino_model.xml", "CPU", "INFERENCE_PRECISION_HINT", "beam_idx"
HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
# Where OpenVINO is told not to send data: an import of it fails.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class Genai:
    """A folder in openvino_genai. It does not say what it set: that is read back from the same graph by itself."""

    by_ours = ""

    def __init__(self, folder: Path, told: Mapping[str, Any], settings: Mapping[str, str]) -> None:
        self._library = module(GENAI)
        self._folder, self._told = folder, told
        self.properties = read_back(compiled(folder, settings), settings)
        self.computes_in = _compute(self.properties)
        self._pipeline = self._library.LLMPipeline(str(folder), DEVICE, **settings)
        self.says = f"openvino_genai {self._library.__version__}"

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """See `stages.generation.folders.Generator`."""
        openvino = module(OPENVINO)
        asked = self._library.GenerationConfig()
        asked.max_new_tokens, asked.do_sample, asked.apply_chat_template = new, False, False
        if ends := self._told["eos"]:
            asked.eos_token_id, asked.stop_token_ids = ends[0], set(ends)
        else:  # the runtime refuses a configuration without one
            asked.eos_token_id, asked.ignore_eos = 0, True
        ids, mask = padded(prompts, filling(self._told))
        given = self._library.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(mask))
        return [ended(list(row), self._told["eos"]) for row in self._pipeline.generate(given, asked).tokens]

    def unfit(self, prompts: Rows, new: int) -> str:
        """Likewise: it takes all."""
        return ""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """Likewise."""
        if not (self._folder / "openvino_tokenizer.xml").is_file():
            return None
        tokenizer = self._pipeline.get_tokenizer()
        return [tokenizer.encode(text.text).input_ids.data[0].tolist() for text in texts]


class Loop:
    """A graph in OpenVINO, its cache in its states."""

    def __init__(self, folder: Path, told: Mapping[str, Any], settings: Mapping[str, str], why: str) -> None:
        model = compiled(folder, settings)
        self.properties = read_back(model, settings)
        self.computes_in = _compute(self.properties)
        self._told, self._request = told, model.create_infer_request()
        self._taken = {name for port in model.inputs for name in port.get_names()}
        self.by_ours, self.says = why, f"our own loop, openvino {module(OPENVINO).get_version()}"

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """See `stages.generation.folders.Generator`."""
        return greedy(self, prompts, new, self._told["eos"], filling(self._told))

    def unfit(self, prompts: Rows, new: int) -> str:
        """Likewise: it takes all."""
        return ""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """Likewise: a graph has no tokenizer."""
        return None

    def start(self, rows: int) -> None:
        """See `stages.portable.generating.Decoder`."""
        self._request.reset_state()

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """Likewise."""
        beams = module("numpy").arange(len(ids), dtype="int32")
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, BEAMS: beams}
        returned = self._request.infer({name: value for name, value in given.items() if name in self._taken})
        logits: Array = returned["logits"]
        return logits


def compiled(folder: Path, settings: Mapping[str, str]) -> Any:
    """The graph of a folder, for this CPU. Raises what OpenVINO raises."""
    return module(OPENVINO).Core().compile_model(folder / FILE, DEVICE, dict(settings))


def read_back(model: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """What was asked for, as the compiled graph has it. Raises Stop where a property is another one."""
    told = {name: _text(model.get_property(name)) for name in (PRECISION, *settings)}
    for name, value in settings.items():
        if told[name].casefold() != value.casefold():
            raise failed([f"{name} was asked for as {value}, OpenVINO set it to {told[name]}"])
    return told


def _compute(properties: Mapping[str, str]) -> str:
    hint = properties[PRECISION]
    return {v: k for k, v in HINTS.items()}.get(hint, hint)


def _text(value: Any) -> str:
    """A property's value as it would be asked for: f32, ACCURACY, YES, 2."""
    if hasattr(value, "to_string"):  # an element type
        return str(value.to_string())
    text = str(getattr(value, "name", value))
    return {"true": "YES", "false": "NO"}.get(text.casefold(), text)


def load(folder: Path, told: Mapping[str, Any], settings: Mapping[str, str], *, ours: str = "") -> Genai | Loop:
    """A folder in its runtime, or where that is asked for, in a loop of our own.

    Args:
        folder: With openvino_model.xml.
        told: What the decoder is; see interface/generation.py.
        settings: OpenVINO's own, by name; each is read back.
        ours: Why our loop takes the runtime's place; empty where it does not.

    Raises Stop for a property that reads back otherwise, and whatever the runtime raises.
    """
    return Loop(folder, told, settings, ours) if ours else Genai(folder, told, settings)


def _loaded(folder: Path, told: Mapping[str, Any], claim: Mapping[str, Any], given: argparse.Namespace) -> Genai | Loop:
    settings = {PRECISION: HINTS[claim["compute"]], **claim["properties"]}
    settings |= {"INFERENCE_NUM_THREADS": str(given.threads)} if given.threads else {}
    return load(folder, told, settings, ours="as it was asked for" if given.ours else claim["by_ours"])


RUNTIME = Runtime("openvino-genai", "openvino_generation", _loaded)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
