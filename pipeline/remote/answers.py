"""The errors that a bucket may answer with, in a form that two processes can exchange."""

from __future__ import annotations

from typing import Any


class Unavailable(Exception):
    """A bucket did not carry out a request.

    Args:
        why: The reason in a few words, without secrets.
        denied: Whether it refused this user, and may serve others.
    """

    def __init__(self, why: str, *, denied: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.denied = denied


class Missing(Exception):
    """There is nothing under a name."""


class Altered(Exception):
    """A file differs from its record, or is missing."""


def sent(error: BaseException) -> dict[str, Any]:
    """An error as plain JSON; every error that is neither one of these nor one of the disk becomes Unavailable."""
    if isinstance(error, Unavailable):
        return {"kind": "unavailable", "why": error.why, "denied": error.denied}
    if isinstance(error, (Missing, Altered)):
        return {"kind": type(error).__name__.lower(), "why": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        return {"kind": "disk", "errno": error.errno, "why": error.strerror, "file": error.filename}
    return {"kind": "unavailable", "why": f"{type(error).__name__}: {error}", "denied": False}


def received(plain: dict[str, Any]) -> Exception:
    """The error that was sent."""
    kind, why = plain["kind"], str(plain["why"])
    if kind == "disk":
        return OSError(plain["errno"], why, plain["file"])
    if kind == "unavailable":
        return Unavailable(why, denied=plain["denied"])
    return Missing(why) if kind == "missing" else Altered(why)
