"""places.py: what is sent round names no host and no folder of it, unless that is asked for."""

import platform

import pytest
from fake_sweep import FakeSweep

from pipeline import report
from pipeline.errors import ConfigError
from pipeline.report import places


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        ("store=/shared/team/store opset=18", "store=…/store opset=18"),
        ("'/home/me/net.pth': no such file", "'…/net.pth': no such file"),
        ("https://pytorch.org/docs/stable", "https://pytorch.org/docs/stable"),
        ("7 images/second, 2 / 3, ./a/b, s/a/b", "7 images/second, 2 / 3, ./a/b, s/a/b"),
    ],
)
def test_absolute_paths_are_cut_to_their_last_name(text, shortened):
    assert places.without(text) == shortened


def test_two_paths_stay_two():
    shortened = places.without(["/a/net.pth", "/b/net.pth", "/a/net.pth"])
    assert shortened == ["…/net.pth", "…/net.pth (2)", "…/net.pth"]


@pytest.fixture
def sweep(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    for store in ("a", "b"):
        error = ConfigError(f"store={tmp_path}/{store} cannot be written", command=f"ls {tmp_path}")
        sweep.job(f"store={tmp_path}/{store}").fail(error, 2)
    return sweep.listed({"store": [f"{tmp_path}/a", f"{tmp_path}/b"]})


WRITTEN = ("report.html", "sweep.json", "0-small/report.html")


def test_pages_name_no_host_and_no_absolute_path(sweep):
    report.of_sweep(sweep)
    for name in WRITTEN:
        written = (sweep / name).read_text()
        assert str(sweep.parent) not in written
        assert platform.node() not in written


def test_pages_name_them_when_that_is_asked_for(sweep):
    report.of_sweep(sweep, with_paths=True)
    for name in WRITTEN:
        assert str(sweep.parent) in (sweep / name).read_text()
        assert platform.node() in (sweep / name).read_text()
