"""portable/vendor_errors.py: the line of a vendor's exception that helps a person."""

from __future__ import annotations

import pytest

from stages.portable.vendor_errors import first_line

OPENVINO = """Exception from src/inference/src/cpp/core.cpp:132:
Exception from src/inference/src/dev/plugin.cpp:59:
Check 'exists' failed at src/frontends/common/src/frontend.cpp:117:
FrontEnd API failed with GeneralFailure:
ir: Could not open the file: "net.xml"

"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n  one\ntwo", "one"),
        ("", "ValueError"),
        (OPENVINO, 'ir: Could not open the file: "net.xml"'),
        ("Exception from src/a.cpp:1:\n", "Exception from src/a.cpp:1:"),
    ],
)
def test_the_first_line_is_the_first_that_helps(text, line):
    assert first_line(ValueError(text)) == line
