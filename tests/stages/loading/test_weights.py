"""loading/weights.py: how published weights are had, and random ones drawn."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from functools import partial
from pathlib import Path

import pytest
from harness import world

from pipeline.errors import ConfigError
from stages.loading import weights


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A folder that is served over HTTP in the place of torch's, with an empty torch.hub folder to download into."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(weights, "TORCHVISION_URL", f"http://localhost:{server.server_port}/")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("no_proxy", "localhost")
        yield folder
        server.shutdown()


def published(folder: Path, content: bytes = b"weights", promised: str = "") -> str:
    """A file whose name ends in the first digits of its SHA-256, as published ones do."""
    name = f"net-{promised or hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    return name


def test_a_file_that_is_not_there_names_what_lies_beside_it(tmp_path):
    (tmp_path / "other.pth").touch()
    with pytest.raises(ConfigError, match=r"(?s)net.pth cannot be read: No such file.*holds other.pth"):
        weights.file_digest(tmp_path / "net.pth", world(tmp_path))


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        weights.file_digest(tmp_path, world(tmp_path))


@pytest.mark.parametrize(
    ("table", "name", "file"),
    [
        ("torchvision", "resnet50", "resnet50-11ad3fa6.pth"),
        ("torchvision", "no_such_model", None),
        (None, "resnet50", None),
    ],
)
def test_the_published_file_of_a_model(table, name, file):
    assert weights.pretrained_file(table, name) == file


@pytest.mark.parametrize(
    ("environment", "folder"), [({"TORCH_HOME": "/t"}, "/t"), ({"XDG_CACHE_HOME": "/x", "TORCH_HOME": ""}, "/x/torch")]
)
def test_downloads_are_kept_where_torch_hub_keeps_them(monkeypatch, environment, folder):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert weights.cached("net-01234567.pth") == Path(folder, "hub/checkpoints/net-01234567.pth")


def test_a_published_file_is_downloaded_whole(host, tmp_path):
    file = published(host, b"weights" * 500_000)
    assert weights.fetch(file, world(tmp_path), again=False) == ""
    assert weights.cached(file).read_bytes() == (host / file).read_bytes()
    assert [p.name for p in weights.cached(file).parent.iterdir()] == [file]


def test_a_download_with_other_digits_than_its_name_promises_is_not_kept(host, tmp_path):
    file = published(host, promised="deadbeef")
    assert "SHA-256 that begins with deadbeef" in weights.fetch(file, world(tmp_path), again=False)
    assert list(weights.cached(file).parent.iterdir()) == []


def test_a_failed_download_is_not_tried_again_for_a_while_unless_it_must(host, tmp_path):
    here = world(tmp_path)
    file = hashlib.sha256(b"late").hexdigest()[:8]
    assert "not found" in weights.fetch(f"net-{file}.pth", here, again=False).lower()
    assert published(host, b"late") == f"net-{file}.pth"
    assert "not found" in weights.fetch(f"net-{file}.pth", here, again=False).lower()
    assert weights.fetch(f"net-{file}.pth", here, again=True) == ""


def test_every_published_name_ends_in_digits_that_can_be_checked():
    names = re.findall(r": \"(.+)\"", weights.TORCHVISION_FILES.read_text())
    assert len(names) > 100
    assert [n for n in names if not re.search(r"[-_][0-9a-f]{8,}\.pth$", n)] == []
