"""The base of stages that read a user's files: files are identified by their SHA-256, and may be pinned to it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Optional, Self

from pipeline.errors import ConfigError
from pipeline.stage import Matches, Stage, World

SHA256 = Matches("[0-9a-f]{64}", "64 hex digits, or null", "model.sha256=null")


class Pinned(Stage):
    """A stage that identifies its files by their SHA-256.

    This is no dataclass: a stage has `sha256`, and the setting that names the files, among its own settings, in its own
    order.

    Attributes:
        named_by: The setting that names the files.
    """

    named_by: ClassVar[str] = "weights"
    sha256: Optional[str]

    @abstractmethod
    def located(self, world: World) -> tuple[Path, str] | None:
        """The file or folder, and the SHA-256 of everything that belongs to it; None for random weights.

        Raises ConfigError for a file that does not exist or may not be read.
        """

    def settle(self, world: World) -> Self:
        settled, located = super().settle(world), self.located(world)
        if located is None:
            return replace(settled, **{self.named_by: "random"})
        path, digest = located
        if self.sha256 not in (None, digest):
            wrong = f"{self.named_by}={path} has SHA-256 {digest}, the configuration says {self.sha256}"
            raise ConfigError(wrong, command=f"model.sha256={digest} if the new content is meant")
        return replace(settled, **{self.named_by: str(path.absolute()), "sha256": digest})
