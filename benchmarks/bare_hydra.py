"""The least that a Hydra program can be: what a warm run is compared with."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path=None)
def main(cfg: DictConfig) -> None:
    """Composes an empty configuration and ends."""


if __name__ == "__main__":
    main()
