"""loading/hub.py: against a hub of our own on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from unittest.mock import Mock

import pytest
import torch
from harness import world
from safetensors.torch import save

from pipeline.errors import ConfigError
from pipeline.machine.world import ThisMachine
from stages.loading import hub as hub_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = save({"a": torch.ones(2)})
INDEX = json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}).encode()


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does to what its client asks for a file; `files` is what one repository has."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    requests: list[str] = []  # noqa: RUF012

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.requests.append(self.path)
        data = self.files.get(self.path.rpartition("/")[2])
        exists = data is not None and self.path.startswith("/org/net/resolve/")
        self.send_response(200 if exists or self.path == "/" else 404)
        if exists:
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        elif self.path != "/":
            self.send_header("X-Error-Code", "EntryNotFound" if "/org/net/" in self.path else "RepoNotFound")
        self.send_header("Content-Length", str(len(data) if exists else 0))
        self.end_headers()
        if exists and self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The files of org/net on a hub of our own, with an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "localhost")
    with http.server.ThreadingHTTPServer(("localhost", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://localhost:{server.server_port}")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(Hub, "files", {})
        monkeypatch.setattr(Hub, "requests", [])
        yield Hub
        server.shutdown()


def obtain(tmp_path, repo="org/net", *, config=False, again=False):
    return hub_files.obtain(repo, None, ThisMachine(tmp_path / "facts", may_fetch=True), config=config, again=again)


@pytest.mark.parametrize(
    ("files", "config", "filename"),
    [
        (["model.safetensors"], False, "model.safetensors"),
        (["model.safetensors", "pytorch_model.bin", "config.json"], True, "model.safetensors"),
        (["pytorch_model.bin"], False, "pytorch_model.bin"),
        (["model.safetensors.index.json", "1.safetensors", "2.safetensors"], False, "model.safetensors.index.json"),
    ],
)
def test_weights_are_downloaded_once_with_what_belongs_to_them(hub, tmp_path, files, config, filename):
    hub.files.update({f: INDEX if "index" in f else WEIGHTS for f in files})
    path = obtain(tmp_path, config=config)
    assert path.name == filename
    assert hub_files.is_cached(path)
    assert hub_files.origin(path) == "org/net@01234567"
    requests = len(hub.requests)
    assert hub_files.obtain("org/net", None, world(tmp_path), config=config, again=True) == path
    assert len(hub.requests) == requests


def test_the_modules_of_a_sentence_model_come_with_it(hub, tmp_path):
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}, {"path": "../up"}]
    hub.files.update(dict.fromkeys(("model.safetensors", "config.json", "preprocessor_config.json"), WEIGHTS))
    hub.files["modules.json"] = json.dumps(modules).encode()
    folder = obtain(tmp_path, config=True).parent
    assert (folder / "1_Pooling" / "config.json").read_bytes() == WEIGHTS
    assert (folder / "preprocessor_config.json").exists()
    assert not any("up/" in path for path in hub.requests)


@pytest.mark.parametrize(
    ("files", "repo", "says"),
    [
        ([], "org/net", "publishes no model.safetensors or"),
        (["model.safetensors"], "org/other", "org/other: 404"),
        (["model.safetensors.index.json", "1.safetensors"], "org/net", "publishes no"),
    ],
)
def test_what_the_hub_does_not_have_is_told(hub, tmp_path, files, repo, says):
    hub.files.update({f: INDEX if "index" in f else WEIGHTS for f in files})
    with pytest.raises(LookupError, match=says):
        obtain(tmp_path, repo)


def test_a_plan_downloads_nothing(hub, tmp_path):
    with pytest.raises(LookupError, match="a plan downloads nothing"):
        hub_files.obtain("org/net", None, world(tmp_path), config=False, again=True)
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached_is_not_asked_again_for_a_while_unless_it_must(hub, tmp_path, monkeypatch):
    hub.files["model.safetensors"] = WEIGHTS
    with monkeypatch.context() as m:
        m.setattr(hub_files, "_reach", Mock(side_effect=ConnectionError("no answer")))
        with pytest.raises(LookupError, match="cannot be reached: no answer"):
            obtain(tmp_path)
    with pytest.raises(LookupError, match="cannot be reached: no answer"):
        obtain(tmp_path)
    assert obtain(tmp_path, again=True).name == "model.safetensors"


def test_a_host_that_refuses_is_told_at_once(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://localhost:9")
    with pytest.raises(LookupError, match="http://localhost:9 cannot be reached"):
        obtain(tmp_path)


def test_all_files_come_from_one_commit(hub, tmp_path):
    hub.files.update({"config.json": b"{}", "model.safetensors": WEIGHTS})
    obtain(tmp_path, config=True)
    assert [a for a in hub.requests if "model" in a and COMMIT not in a] == []


def test_being_told_to_stay_offline_is_heeded(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LookupError, match="HF_HUB_OFFLINE is set"):
        obtain(tmp_path, again=True)
    assert hub.requests == []


def test_a_cached_file_with_another_content_than_the_hub_published_is_refused(hub, tmp_path):
    hub.files["model.safetensors"] = WEIGHTS
    path = obtain(tmp_path)
    path.resolve().write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"is damaged: its SHA-256 should be .*(?s:.*)rm "):
        obtain(tmp_path)


def test_an_index_that_points_out_of_its_folder_fetches_nothing_there(hub, tmp_path):
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": "../../x.safetensors"}}).encode()
    with pytest.raises(ConfigError, match="not in its own folder"):
        obtain(tmp_path)
    assert not any("x.safetensors" in a for a in hub.requests)


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("resnet18", "timm/resnet18.a1_in1k"),
        ("resnet18.a2_in1k", "timm/resnet18.a2_in1k"),
        ("rdnet_tiny", "naver-ai/rdnet_tiny.nv_in1k"),
        ("no_such_model", None),
        ("resnet18.no_such_tag", None),
    ],
)
def test_the_repository_of_a_timm_model(tmp_path, name, repo):
    assert hub_files.timm_repo(name, world(tmp_path)) == repo


def test_what_timm_publishes_is_asked_of_it_once(tmp_path, monkeypatch):
    here = world(tmp_path)
    hub_files.timm_repo("resnet18", here)
    monkeypatch.setattr("timm.get_pretrained_cfg", lambda *_: pytest.fail("a warm run does not import timm"))
    assert hub_files.timm_repo("resnet18", here) == "timm/resnet18.a1_in1k"
