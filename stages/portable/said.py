"""What a vendor's exception says to a person, in a line."""

from __future__ import annotations

import re

# OpenVINO puts before its message where in its own source which check failed.
PLACES = re.compile(r"Check '.*' failed at |FrontEnd API failed|Exception from |\[ ?[A-Z ]+ ?\] ?$")


def first_line(error: BaseException) -> str:
    """The first line that is for people, or the exception's type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" :~^")] or [type(error).__name__]
    return next((line for line in lines if not PLACES.match(line)), lines[0])
