"""Sizes and durations as people read them, and as they type them."""

from __future__ import annotations

import re

BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
AGE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(SECONDS)})")
SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(BYTES)})")


def size(count: float) -> str:
    """A number of bytes to read: 512 B, 4.9 KiB, 97.4 MiB."""
    unit = _unit(count)
    return f"{count:.0f} B" if unit == "B" else f"{count / BYTES[unit]:.1f} {unit}"


def size_setting(count: int) -> str:
    """A number of bytes to type, as `parsed_size` takes it and a shell leaves it: 8GiB, 1.5GiB, 640MiB."""
    unit = _unit(count)
    return f"{round(count / BYTES[unit], 1):g}{unit}"


def parsed_size(text: str) -> int | None:
    """The number of bytes that a text such as 8GiB names; None when it names none."""
    match = SIZE.fullmatch(text)
    return int(float(match[1]) * BYTES[match[2]]) if match else None


def parsed_age(text: str) -> float | None:
    """The seconds that a text such as 30d names; None when it names none."""
    match = AGE.fullmatch(text)
    return float(match[1]) * SECONDS[match[2]] if match else None


def age(seconds: float) -> str:
    """How long ago something was, roughly: 40 s, 12 min, 5 h, 3 d."""
    for unit in ("d", "h", "min"):
        if seconds >= SECONDS[unit]:
            return f"{seconds / SECONDS[unit]:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def duration(seconds: float, *, whole: bool = False) -> str:
    """Seconds to read: 12.3 s, 2 min 05 s, 1 h 02 min.

    Args:
        seconds: 0 or more.
        whole: Whether a time below a minute is rounded too, such as 12 s: for a time that grows on the screen.
    """
    digits = 0 if whole else 1
    if round(seconds, digits) < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _unit(count: float) -> str:
    """The largest unit of which there is one or more."""
    return next((unit for unit in reversed(BYTES) if count >= BYTES[unit]), "B")
