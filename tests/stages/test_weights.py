"""stages/_weights.py: what a weights file may be, and how published ones are had."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from harness import Canary, TinyConv, world
from safetensors.torch import save_file

from pipeline.errors import ConfigError, StageError
from stages import _weights


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return TinyConv().state_dict()


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A folder that is served over HTTP in the place of torch's, with an empty torch.hub folder to download into."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(_weights, "TORCHVISION_URL", f"http://localhost:{server.server_port}/")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("no_proxy", "localhost")
        yield folder
        server.shutdown()


def published(folder: Path, content: bytes = b"weights", promised: str = "") -> str:
    """A file whose name ends in the first digits of its SHA-256, as published ones do."""
    name = f"net-{promised or hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    return name


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
def test_a_state_dict_is_read_back_as_it_was(tmp_path, state, suffix):
    path = tmp_path / f"net.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    read = _weights.read(path)
    assert {k: v.tolist() for k, v in read.items()} == {k: v.tolist() for k, v in state.items()}


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path):
    torch.save({"head.weight": Canary(tmp_path / "canary")}, tmp_path / "evil.pth")
    with pytest.raises(StageError, match=r"evil\.pth was refused: it is a pickle that wants to run code"):
        _weights.read(tmp_path / "evil.pth")
    assert not (tmp_path / "canary").exists()


def test_the_canary_would_sing_if_code_ran(tmp_path):
    torch.save({"head.weight": Canary(tmp_path / "canary")}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "canary").exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(TinyConv(), tmp_path / "whole.pth")
    with pytest.raises(StageError, match=r"whole.pth was refused.*(?s:.*)torch.save\(model.state_dict\(\)"):
        _weights.read(tmp_path / "whole.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 0.5, 0.99])
def test_a_truncated_file_is_named_with_its_size(tmp_path, state, suffix, kept):
    path = tmp_path / f"net.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    size = int(kept if kept >= 1 else path.stat().st_size * kept)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StageError, match=rf"net.{suffix} cannot be read as a checkpoint \({size} bytes\)"):
        _weights.read(path)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"epoch": 3, "state_dict": {}}, "no state dict but epoch, state_dict"),
        ([torch.ones(1)], "no state dict but list"),
    ],
)
def test_a_file_that_holds_something_else_says_what(tmp_path, held, says):
    torch.save(held, tmp_path / "net.pth")
    with pytest.raises(StageError, match=says):
        _weights.read(tmp_path / "net.pth")


def test_loading_is_strict_and_tells_everything_at_once(state):
    state["head.wieght"] = state.pop("head.weight")
    state["conv.weight"] = torch.ones(4, 1, 3, 3)
    with pytest.raises(StageError) as caught:
        _weights.load_into(TinyConv(), state, "weights=net.pth")
    missing, unexpected, shapes = (p.what for p in caught.value.problems)
    assert missing == "weights=net.pth lacks 1 keys of the model: head.weight"
    assert unexpected == "weights=net.pth has 1 keys that the model does not know: head.wieght"
    assert shapes.endswith("conv.weight is (4, 1, 3, 3) in the file and (4, 3, 3, 3) in the model")


def test_no_more_than_ten_keys_are_listed(state):
    state |= {f"extra.{i}": torch.ones(1) for i in range(12)}
    with pytest.raises(StageError, match=r"has 12 keys .*: (extra\.\d, ){9}extra\.9 … and 2 more"):
        _weights.load_into(TinyConv(), state, "weights=net.pth")


def test_a_model_is_left_as_it_was_when_its_weights_do_not_fit(state):
    net = TinyConv()
    before = net.conv.weight.clone()
    del state["head.bias"]
    with pytest.raises(StageError):
        _weights.load_into(net, state, "weights=net.pth")
    assert torch.equal(net.conv.weight, before)


def test_a_file_that_is_not_there_names_what_lies_beside_it(tmp_path):
    (tmp_path / "other.pth").touch()
    with pytest.raises(ConfigError, match=r"(?s)net.pth cannot be read: No such file.*holds other.pth"):
        _weights.file_digest(tmp_path / "net.pth", world(tmp_path))


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        _weights.file_digest(tmp_path, world(tmp_path))


@pytest.mark.parametrize(
    ("table", "name", "file"),
    [
        ("torchvision", "resnet50", "resnet50-11ad3fa6.pth"),
        ("torchvision", "no_such_model", None),
        (None, "resnet50", None),
    ],
)
def test_the_published_file_of_a_model(table, name, file):
    assert _weights.pretrained_file(table, name) == file


@pytest.mark.parametrize(
    ("environment", "folder"), [({"TORCH_HOME": "/t"}, "/t"), ({"XDG_CACHE_HOME": "/x", "TORCH_HOME": ""}, "/x/torch")]
)
def test_downloads_are_kept_where_torch_hub_keeps_them(monkeypatch, environment, folder):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _weights.cached("net-01234567.pth") == Path(folder, "hub/checkpoints/net-01234567.pth")


def test_a_published_file_is_downloaded_whole(host, tmp_path):
    file = published(host, b"weights" * 500_000)
    assert _weights.fetch(file, world(tmp_path), again=False) == ""
    assert _weights.cached(file).read_bytes() == (host / file).read_bytes()
    assert [p.name for p in _weights.cached(file).parent.iterdir()] == [file]


def test_a_download_with_other_digits_than_its_name_promises_is_not_kept(host, tmp_path):
    file = published(host, promised="deadbeef")
    assert "SHA-256 that begins with deadbeef" in _weights.fetch(file, world(tmp_path), again=False)
    assert list(_weights.cached(file).parent.iterdir()) == []


def test_a_failed_download_is_not_tried_again_for_a_while_unless_it_must(host, tmp_path):
    here = world(tmp_path)
    file = hashlib.sha256(b"late").hexdigest()[:8]
    assert "not found" in _weights.fetch(f"net-{file}.pth", here, again=False).lower()
    assert published(host, b"late") == f"net-{file}.pth"
    assert "not found" in _weights.fetch(f"net-{file}.pth", here, again=False).lower()
    assert _weights.fetch(f"net-{file}.pth", here, again=True) == ""


def test_every_published_name_ends_in_digits_that_can_be_checked():
    names = re.findall(r": \"(.+)\"", _weights.TORCHVISION_FILES.read_text())
    assert len(names) > 100
    assert [n for n in names if not re.search(r"[-_][0-9a-f]{8,}\.pth$", n)] == []


def test_a_matrix_left_at_zero_is_drawn_and_the_rest_left_alone():
    net = TinyConv()
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    before = net.conv.weight.clone()
    _weights.enliven(net, seed=0)
    assert float(net.head.weight.detach().std()) == pytest.approx(0.02, rel=0.5)  # 40 samples of N(0, 0.02)
    assert torch.equal(net.conv.weight, before)
    assert not net.head.bias.any()
