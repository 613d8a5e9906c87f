"""Hydra's own grid sweeper, with jobs that share work, fail alone and are reported; see pipeline/sweeping/sweep.py.

Here because Hydra takes sweepers from this namespace alone; it imports everything in it on every start, so this is all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser


class DrydockSweeper(BasicSweeper):
    """Every combination of the swept values. Its settings mean what they do to BasicSweeper."""

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the jobs. Raises ConfigError when none of them can be composed."""
        from pipeline.sweeping import sweep

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        grid: Sequence[Sequence[str]]
        (grid,) = self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), None)
        return sweep.run(grid, self.config, loader, self.launcher, self.max_batch_size)


NODE = BasicSweeperConf(_target_="hydra_plugins.drydock.DrydockSweeper")
ConfigStore.instance().store(group="hydra/sweeper", name="drydock", node=NODE, provider="drydock")
