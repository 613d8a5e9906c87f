"""The one line of a vendor's exception that helps a person."""

from __future__ import annotations

import re

# OpenVINO puts lines about its own source before its message.
PLACES = re.compile(r"Check '.*' failed at |FrontEnd API failed|Exception from |\[ ?[A-Z ]+ ?\] ?$")


def first_line(error: BaseException) -> str:
    """The first line for people, or the exception's type where there is no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" :~^")] or [type(error).__name__]
    return next((line for line in lines if not PLACES.match(line)), lines[0])
