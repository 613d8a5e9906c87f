"""Reads a LoRA adapter that peft saved, and adds it to the weights of a model.

Source: E. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), and peft's tuners/lora, whose files
these are: adapter_config.json, and tensors by the names of the model's modules in adapter_model.safetensors or .bin.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, Problem, StageError, listed, nearest

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# What peft's wrappers put before the names of the model's modules.
WRAPPED = "base_model.model."
LOW_RANK = re.compile(r"(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")
# Options that change more than W + scale * B @ A, or which weights it is added to; and their harmless values.
PLAIN: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (False,),
    "use_qalora": (False,),
    "lora_bias": (False,),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
    "layer_replication": (),
    "trainable_token_indices": (),
    "target_parameters": (),
    "alora_invocation_tokens": (),
    "arrow_config": (),
    "megatron_config": (),
}
INSTEAD = (
    "where peft is installed: PeftModel.from_pretrained(model, FOLDER).merge_and_unload().save_pretrained('merged'), "
    "then model.weights=merged"
)


@dataclass(frozen=True)
class Lora:
    """The scale of each layer's addition, from adapter_config.json.

    Args:
        alpha: The scale, before it is divided by the rank.
        alphas: The same for modules whose name ends in a pattern.
        by_root: Whether it is divided by the rank's square root.
        transposed: Whether the weights that it is added to are [in, out], as in GPT-2's Conv1D.
    """

    alpha: float
    alphas: Mapping[str, float]
    by_root: bool
    transposed: bool

    def scale(self, module: str, rank: int) -> float:
        """The factor for the product of a module's matrices."""
        alphas = (a for pattern, a in self.alphas.items() if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", module))
        alpha: float = next(alphas, self.alpha)
        return alpha / (rank**0.5 if self.by_root else rank)


def files(folder: Path) -> list[Path]:
    """The configuration and the weights of an adapter. Raises ConfigError for a folder without them."""
    weights = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not (folder / CONFIG).is_file() or not weights:
        contents = listed(sorted(f.name for f in folder.iterdir())) if folder.is_dir() else ""
        raise ConfigError(
            f"{folder} is no adapter as peft saves it"
            + (f": it holds {contents}" if contents else ": there is no such folder"),
            allowed=f"a folder with {CONFIG} and {' or '.join(WEIGHTS)}",
            command="stages.adapter.folder=/path/to/adapter",
        )
    return [folder / CONFIG, weights[0]]


def read(config: Path) -> Lora:
    """Reads adapter_config.json. Raises ConfigError for another kind of adapter, or one with further options."""
    try:
        config_json = json.loads(config.read_text())
        kind = str(config_json["peft_type"])
        patterns = {str(k): float(v) for k, v in (config_json.get("alpha_pattern") or {}).items()}
        lora = Lora(
            float(config_json.get("lora_alpha", 8)),
            patterns,
            bool(config_json.get("use_rslora")),
            bool(config_json.get("fan_in_fan_out")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise ConfigError(
            f"{config} cannot be read: {type(e).__name__}: {e}", allowed="JSON with peft_type and lora_alpha"
        ) from e
    if kind != "LORA":
        raise ConfigError(f"{config}: peft_type is {kind}", allowed="LORA", command=INSTEAD)
    beyond = [
        f"{option} is {json.dumps(config_json[option])}"
        for option, plain in PLAIN.items()
        if config_json.get(option) and config_json[option] not in plain
    ]
    if beyond:
        raise ConfigError(
            [Problem(f"{config}: {wrong}, which is more than W + scale * B @ A", command=INSTEAD) for wrong in beyond]
        )
    return lora


def merged(module: torch.nn.Module, state: Mapping[str, Any], lora: Lora, origin: str) -> list[str]:
    """Adds an adapter to a module's weights. Each is replaced by a new tensor, since other modules may share the old.

    Args:
        module: Changed in place.
        state: The adapter's tensors by name.
        lora: Its options.
        origin: The adapter's name in messages.

    Returns:
        The names of the parameters that changed.

    Raises:
        StageError: When a tensor belongs to no module, or has an unknown form. The module may have changed.
    """
    import torch

    parts, whole = _sorted(state)
    if not parts:
        raise StageError(f"{origin} has no lora_A and lora_B: {listed(state)}", command=INSTEAD)
    changed = [_replaced(module, name, tensor, origin) for name, tensor in whole.items()]
    for name, matrices in parts.items():
        owner = _owner(module, name, origin)
        weight = getattr(owner, "weight", None)
        if matrices.keys() != {"A", "B"} or not isinstance(weight, torch.nn.Parameter):
            raise StageError(f"{origin}: {name} has {listed(sorted(matrices))}, and {type(owner).__name__} there")
        a, b = matrices["A"].float(), matrices["B"].float()
        added = torch.einsum("or,r...->o...", b.flatten(1), a) * lora.scale(name, len(a))
        if isinstance(owner, torch.nn.Embedding) or (lora.transposed and added.dim() == 2):
            added = added.T
        if added.shape != weight.shape or getattr(owner, "groups", 1) != 1:
            raise StageError(
                f"{origin}: {name} is to be added to as {tuple(added.shape)}, and is {tuple(weight.shape)}",
                allowed="the model that the adapter was trained for",
                command=INSTEAD,
            )
        owner.weight = torch.nn.Parameter((weight.float() + added).to(weight.dtype), weight.requires_grad)
        changed.append(f"{name}.weight")
    return changed


def _sorted(state: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The matrices of each module, by A and B; and the tensors that replace the model's own, such as a new head's."""
    parts: dict[str, dict[str, Any]] = {}
    whole = {}
    for key, tensor in state.items():
        name = key.removeprefix(WRAPPED).replace(".modules_to_save.", ".").replace(".base_layer.", ".")
        if match := LOW_RANK.fullmatch(name):
            parts.setdefault(match[1], {})[match[2]] = tensor
        else:
            whole[name] = tensor
    return parts, whole


def _owner(module: torch.nn.Module, name: str, origin: str) -> torch.nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as e:
        modules = [n for n, _ in module.named_modules() if n]
        raise StageError(
            f"{origin} is for a model with {name}, which {type(module).__name__} lacks{nearest(name, modules)}",
            allowed="the model that the adapter was trained for, of the same class",
            command="model.factory=… and model.weights=… of that model",
        ) from e


def _replaced(module: torch.nn.Module, name: str, tensor: Any, origin: str) -> str:
    import torch

    path, _, leaf = name.rpartition(".")
    owner = _owner(module, path, origin) if path else module
    own = getattr(owner, leaf, None)
    if not torch.is_tensor(own) or own.shape != tensor.shape:
        is_now = f"is {tuple(own.shape)} in the model" if torch.is_tensor(own) else "the model does not have"
        raise StageError(
            f"{origin}: {name} of {tuple(tensor.shape)} {is_now}",
            allowed="the model that the adapter was trained for",
            command=INSTEAD,
        )
    value = tensor.to(own.dtype)
    setattr(owner, leaf, torch.nn.Parameter(value, own.requires_grad) if leaf in owner._parameters else value)
    return name


def refused(names: Sequence[str], origin: str) -> Iterator[Problem]:
    """A problem if these are the weights of an adapter and not of a model."""
    if any(LOW_RANK.fullmatch(name) for name in names):
        yield Problem(
            f"{origin} is a LoRA adapter, and no model",
            allowed="the weights of the model that it was trained for; the adapter is merged into them",
            command="model.weights=/path/to/model also=adapter stages.adapter.folder=/path/to/adapter",
        )
