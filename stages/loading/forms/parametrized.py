"""Weights that a module computes from others whenever it is called: torch's parametrizations, and older hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def written_out(module: torch.nn.Module) -> int:
    """Replaces computed weights by their values, in a module in evaluation mode. Returns the number of weights.

    TorchScript has none of these.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.parametrize.remove_parametrizations.html
    """
    import torch
    from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
    from torch.nn.utils.spectral_norm import SpectralNorm
    from torch.nn.utils.weight_norm import WeightNorm

    count = 0
    if isinstance(module, torch.jit.ScriptModule):
        return count
    for part in list(module.modules()):
        parametrizations: Any = getattr(part, "parametrizations", ())  # a ModuleDict, by the names of weights
        for name in list(parametrizations) if parametrize.is_parametrized(part) else ():
            parametrize.remove_parametrizations(part, name, leave_parametrized=True)
            count += 1
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(part, hook.name)
                count += 1
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(part, hook.name)
                count += 1
    return count
