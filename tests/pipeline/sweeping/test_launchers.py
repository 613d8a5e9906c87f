"""pipeline/sweeping/launchers.py: clusters that answer, and those that do not. tests/test_ray.py has a real one."""

import socket
from types import SimpleNamespace

import pytest

from pipeline.errors import BackendMissing
from pipeline.sweeping import launchers


def ray(address):
    return SimpleNamespace(ray_cfg={"init": {"address": address}})


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(form):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = form.format(server.getsockname()[1])
        launchers.refuse_unreachable(ray(address))
    with pytest.raises(BackendMissing, match=r"no Ray cluster answers at (127.0.0.1|localhost):\d+: .*refused"):
        launchers.refuse_unreachable(ray(address))


@pytest.mark.parametrize("address", ["auto", None, "local"])
def test_an_address_that_ray_finds_itself_is_left_to_it(address):
    launchers.refuse_unreachable(ray(address))


def test_other_launchers_have_no_address():
    launchers.refuse_unreachable(SimpleNamespace())
