"""Settings of `target` for TensorRT alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional


@dataclass
class Target:
    """Settings of target=tensorrt and target=tensorrt_bundle.

    Args:
        releases: The releases of TensorRT, 10 and 11, that a bundle is for.
        profiles: The profiles of an engine; see conf/stage/bundle_tensorrt.yaml.
    """

    releases: list[str] = field(default_factory=lambda: ["10", "11"])
    profiles: Optional[list[Any]] = None
