"""A Hydra program that does nothing: what a warm run is compared with."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="bare", config_name="config")
def main(cfg: DictConfig) -> None:
    """Composes a configuration of two files and ends."""


if __name__ == "__main__":
    main()
