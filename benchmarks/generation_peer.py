"""transformers' own exporter for language models, called as its guide has it; a process of its own for each task.

    python -m benchmarks.generation_peer export FOLDER OUT      FOLDER's model as ONNX, prompt and decoding apart
    python -m benchmarks.generation_peer tokens FOLDER ASKED    what FOLDER's export goes on with, as JSON
    python -m benchmarks.generation_peer speed FOLDER PROMPT NEW

Source: https://huggingface.co/docs/transformers/main/en/exporters
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def export(source: Path, into: Path) -> None:
    """Exports with the sample that the guide has: a prompt, all of it tokens."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.exporters import OnnxExporter
    from transformers.exporters.configs import OnnxConfig

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    ids = torch.arange(3, 19).reshape(2, 8)
    sample = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    OnnxExporter().export_for_generation(model, sample, OnnxConfig(dynamic=True)).save_pretrained(into)


class Exported:
    """What was exported, in onnxruntime, by transformers' own runner."""

    def __init__(self, folder: Path) -> None:
        from transformers.exporters.base import ExportedModel

        self._model = ExportedModel.from_pretrained(folder)

    def __call__(self, rows: Sequence[Sequence[int]], new: int, fills: int) -> tuple[list[list[int]], list[float]]:
        """Greedy tokens after each row, shorter ones filled up on the left, and the seconds of each call."""
        import torch
        from transformers import DynamicCache

        width = max(map(len, rows))
        ids = torch.tensor([[fills] * (width - len(r)) + list(r) for r in rows])
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        positions = (mask.cumsum(1) - 1).clamp(0)
        cache: Any = DynamicCache(config=self._model.config)
        tokens, seconds = [], []
        for number in range(new):
            runner = self._model.runners["decode" if number else "prefill"]
            everything = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "past_key_values": cache}
            began = time.perf_counter()
            answer = runner(**{k: v for k, v in everything.items() if k in runner.metadata.kwargs})
            seconds.append(time.perf_counter() - began)
            ids, cache = answer.logits[:, -1:].argmax(-1), answer.past_key_values
            mask = torch.cat([mask, torch.ones_like(ids)], 1)
            positions = positions[:, -1:] + 1
            tokens.append(ids)
        return torch.cat(tokens, 1).tolist(), seconds


def main() -> None:
    what, folder, *more = sys.argv[1:]
    if what == "export":
        export(Path(folder), Path(more[0]))
    elif what == "tokens":
        record = json.loads(Path(more[0]).read_text())
        run = Exported(Path(folder))
        print(json.dumps([run(batch, record["new"], record["fills"])[0] for batch in record["batches"]]))
    else:
        prompt, new = map(int, more)
        run = Exported(Path(folder))
        run([range(3, 3 + prompt)], 2, 0)
        print(json.dumps(run([range(3, 3 + prompt)], new, 0)[1]))


if __name__ == "__main__":
    main()
