"""Checks a language model on the device that it was delivered to: it must continue prompts as the original did.

    python selfcheck.py               through openvino_genai, which the folder is for
    python selfcheck.py --ours        with this script's own loop over the graph, through openvino
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
# Keeps OpenVINO from sending usage data: the import of its telemetry fails.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class Genai:
    """A folder in openvino_genai. Its properties are read from the same graph in openvino: it does not report them."""

    by_ours = ""

    def __init__(self, folder: Path, decoder: Mapping[str, Any], settings: Mapping[str, str]) -> None:
        self._library = module(GENAI)
        self._folder, self._decoder = folder, decoder
        self.properties = read_back(compiled(folder, settings), settings)
        self.computes_in = _compute(self.properties)
        self._pipeline = self._library.LLMPipeline(str(folder), DEVICE, **settings)
        self.says = f"openvino_genai {self._library.__version__}"

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """See `stages.generation.folders.Generator`."""
        openvino = module(OPENVINO)
        config = self._library.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.apply_chat_template = new, False, False
        if ends := self._decoder["eos"]:
            config.eos_token_id, config.stop_token_ids = ends[0], set(ends)
        else:  # the runtime refuses a configuration without an end token
            config.eos_token_id, config.ignore_eos = 0, True
        ids, mask = padded(prompts, filling(self._decoder))
        tokens = self._library.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(mask))
        return [ended(list(row), self._decoder["eos"]) for row in self._pipeline.generate(tokens, config).tokens]

    def unfit(self, prompts: Rows, new: int) -> str:
        """See `stages.generation.folders.Generator`. It takes all prompts."""
        return ""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """See `stages.generation.folders.Generator`."""
        if not (self._folder / "openvino_tokenizer.xml").is_file():
            return None
        tokenizer = self._pipeline.get_tokenizer()
        return [tokenizer.encode(text.text).input_ids.data[0].tolist() for text in texts]


class Loop:
    """A graph in OpenVINO with its cache in states."""

    def __init__(self, folder: Path, decoder: Mapping[str, Any], settings: Mapping[str, str], why: str) -> None:
        model = compiled(folder, settings)
        self.properties = read_back(model, settings)
        self.computes_in = _compute(self.properties)
        self._decoder, self._request = decoder, model.create_infer_request()
        self._input_names = {name for port in model.inputs for name in port.get_names()}
        self.by_ours, self.says = why, f"our own loop, openvino {module(OPENVINO).get_version()}"

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """See `stages.generation.folders.Generator`."""
        return greedy(self, prompts, new, self._decoder["eos"], filling(self._decoder))

    def unfit(self, prompts: Rows, new: int) -> str:
        """See `stages.generation.folders.Generator`. It takes all prompts."""
        return ""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """See `stages.generation.folders.Generator`. A graph has no tokenizer."""
        return None

    def start(self, rows: int) -> None:
        """See `stages.portable.generating.Decoder`."""
        self._request.reset_state()

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """See `stages.portable.generating.Decoder`."""
        beams = module("numpy").arange(len(ids), dtype="int32")
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, BEAMS: beams}
        returned = self._request.infer({name: value for name, value in feeds.items() if name in self._input_names})
        logits: Array = returned["logits"]
        return logits


def compiled(folder: Path, settings: Mapping[str, str]) -> Any:
    """The graph of a folder, for this CPU. Raises what OpenVINO raises."""
    return module(OPENVINO).Core().compile_model(folder / FILE, DEVICE, dict(settings))


def read_back(model: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """The properties of the compiled graph. Raises Stop where one has another value than was set."""
    actual = {name: _text(model.get_property(name)) for name in (PRECISION, *settings)}
    for name, value in settings.items():
        if actual[name].casefold() != value.casefold():
            raise failed([f"{name} was asked for as {value}, OpenVINO set it to {actual[name]}"])
    return actual


def _compute(properties: Mapping[str, str]) -> str:
    hint = properties[PRECISION]
    return {v: k for k, v in HINTS.items()}.get(hint, hint)


def _text(value: Any) -> str:
    """A property's value in the form that sets it: f32, ACCURACY, YES, 2."""
    if hasattr(value, "to_string"):  # an element type
        return str(value.to_string())
    text = str(getattr(value, "name", value))
    return {"true": "YES", "false": "NO"}.get(text.casefold(), text)


def load(folder: Path, decoder: Mapping[str, Any], settings: Mapping[str, str], *, ours: str = "") -> Genai | Loop:
    """A folder in openvino_genai, or in our own loop where `ours` says so.

    Args:
        folder: The folder with openvino_model.xml.
        decoder: The facts about the decoder; see interface/generation.py.
        settings: OpenVINO's properties by name; each is read back.
        ours: Why our own loop runs instead of the runtime; empty where it does not.

    Raises Stop for a property that reads back with another value, and whatever the runtime raises.
    """
    return Loop(folder, decoder, settings, ours) if ours else Genai(folder, decoder, settings)


def _loaded(
    folder: Path, decoder: Mapping[str, Any], claim: Mapping[str, Any], arguments: argparse.Namespace
) -> Genai | Loop:
    settings = {PRECISION: HINTS[claim["compute"]], **claim["properties"]}
    settings |= {"INFERENCE_NUM_THREADS": str(arguments.threads)} if arguments.threads else {}
    return load(folder, decoder, settings, ours="as requested" if arguments.ours else claim["by_ours"])


RUNTIME = Runtime("openvino-genai", "openvino_generation", _loaded)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
