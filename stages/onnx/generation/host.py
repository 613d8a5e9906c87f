"""Checks a language model on the device that it was delivered to: it must continue prompts as the original did.

    python selfcheck.py               through onnxruntime-genai, which the folder is for
    python selfcheck.py --ours        with this script's own loop over the graph, through onnxruntime
    python selfcheck.py --threads 2

It needs Python 3.10 or later, numpy, and onnxruntime-genai or onnxruntime. It reads artifact.json and tokens.json
beside itself.
Exit codes: 0 it agrees, 2 wrong usage, 3 it cannot run, 4 the runtime or numpy is not installed, 5 it does not agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.portable.generating import Rows, Text, ended, filling, greedy
from stages.portable.handed_over import module
from stages.portable.selfcheck_tokens import Runtime, main

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GENAI, ORT = "onnxruntime_genai", "onnxruntime"
# Why our own loop runs instead of the runtime: states that it does not feed, how it ends a text, how it pads rows.
STATES = "onnxruntime-genai feeds keys and values, and this model's cache has other states"
ENDLESS = "onnxruntime-genai ends a text with token 0 where no token is known to, and this model has none"
RIGHT = "onnxruntime-genai fills shorter rows up on the right, and the model's window of {} takes that for tokens"


class Genai:
    """A folder in onnxruntime-genai."""

    by_ours = ""
    computes_in = "float32"
    properties: Mapping[str, str] = {}

    def __init__(self, folder: Path, decoder: Mapping[str, Any], threads: int | None) -> None:
        self._library = module(GENAI)
        self._library.disable_telemetry_events()
        config = self._library.Config(str(folder))
        if threads:
            session = {"session_options": {"intra_op_num_threads": threads}}
            config.overlay(json.dumps({"model": {"decoder": session}}))
        self._folder, self._decoder = folder, decoder
        self._model = self._library.Model(config)
        self._tokenizer: Any = None
        self.says = f"onnxruntime-genai {self._library.__version__}"

    def __call__(self, prompts: Rows, new: int) -> list[list[int]]:
        """See `stages.generation.folders.Generator`. It takes rows that are padded on the right."""
        np = module("numpy")
        ends, fills = self._decoder["eos"], filling(self._decoder)
        width = max(map(len, prompts))
        parameters = self._library.GeneratorParams(self._model)
        # Where no token may end a text, the configuration's end tokens must not end it either.
        least = 0 if ends else width + new
        plain = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "min_length": least}
        parameters.set_search_options(batch_size=len(prompts), max_length=width + new, no_repeat_ngram_size=0, **plain)
        running = self._library.Generator(self._model, parameters)
        rows = [[*p, *[fills] * (width - len(p))] for p in prompts]
        running.append_tokens(np.array(rows, np.int32))
        while not running.is_done():
            running.generate_next_token()
        return [ended(running.get_sequence(n)[width:].tolist(), ends) for n in range(len(prompts))]

    def unfit(self, prompts: Rows, new: int) -> str:
        """See `stages.generation.folders.Generator`."""
        window, widths = self._decoder["window"], sorted(map(len, prompts))
        beyond = window is not None and widths[0] < widths[-1] and widths[-1] + new > window
        return RIGHT.format(window) if beyond else ""

    def tokenized(self, texts: Sequence[Text]) -> list[list[int]] | None:
        """See `stages.generation.folders.Generator`."""
        if not (self._folder / "tokenizer.json").is_file():
            return None
        self._tokenizer = self._tokenizer or self._library.Tokenizer(self._model)
        return [[int(t) for t in self._tokenizer.encode(text.text)] for text in texts]


class Loop:
    """A graph in onnxruntime; each call gets the cache that the previous one returned."""

    properties: Mapping[str, str] = {}
    computes_in = "float32"

    def __init__(self, folder: Path, decoder: Mapping[str, Any], threads: int | None, why: str) -> None:
        onnxruntime = module(ORT)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._decoder = decoder
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._inputs = {i.name: i for i in self._session.get_inputs()}
        self._output_names = [o.name for o in self._session.get_outputs()]
        self._before: dict[str, Any] = {}
        self.by_ours, self.says = why, f"our own loop, onnxruntime {onnxruntime.__version__}"

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
        self._before = {}
        for cache in self._decoder["cache"]:
            spec = self._inputs[cache["input"]]
            others = [0 if axis == cache["axis"] else size for axis, size in enumerate(spec.shape)][1:]
            self._before[spec.name] = module("numpy").zeros((rows, *others), _numpy(spec.type))

    def logits(self, ids: Array, mask: Array, positions: Array) -> Array:
        """See `stages.portable.generating.Decoder`."""
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        feeds = {name: value for name, value in feeds.items() if name in self._inputs}
        results = dict(
            zip(self._output_names, self._session.run(self._output_names, {**feeds, **self._before}), strict=True)
        )
        self._before = {c["input"]: results[c["output"]] for c in self._decoder["cache"]}
        logits: Array = results["logits"]
        return logits


def _numpy(kind: str) -> str:
    """numpy's name of one of onnxruntime's types, such as tensor(float16)."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def load(folder: Path, decoder: Mapping[str, Any], threads: int | None = None, *, ours: bool = False) -> Genai | Loop:
    """A folder in onnxruntime-genai, or in our own loop where that cannot run it or where `ours` says so.

    Args:
        folder: The folder with model.onnx and genai_config.json.
        decoder: The facts about the decoder; see interface/generation.py.
        threads: None for the runtime's own choice.
        ours: Whether to use our own loop.

    Raises whatever the runtime raises.
    """
    written = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
    why = "as requested" if ours else ""
    why = why if written["eos_token_id"] else ENDLESS
    why = STATES if any(c["kind"] not in ("attention", "sliding") for c in decoder["cache"]) else why
    return Loop(folder, decoder, threads, why) if why else Genai(folder, decoder, threads)


def _loaded(
    folder: Path, decoder: Mapping[str, Any], claim: Mapping[str, Any], arguments: argparse.Namespace
) -> Genai | Loop:
    return load(folder, decoder, arguments.threads or None, ours=arguments.ours or bool(claim["by_ours"]))


RUNTIME = Runtime("onnxruntime-genai", "onnx_generation", _loaded)

if __name__ == "__main__":
    sys.exit(main(RUNTIME, str(__doc__), Path(__file__).parent))
