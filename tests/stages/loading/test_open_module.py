"""loading/open_module.py."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import zipfile
from pathlib import Path

import nets
import pytest
import torch
from harness import run_stage, world
from nets import TinyConv
from pickles import Canary
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import ConfigError, StageError
from stages.loading import archive as torch_archive
from stages.loading.open_module import OpenModule
from stages.loading.set_eval import SetEval

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FORMATS = ["TorchScript", "ExportedProgram", "pickle"]


def net():
    torch.manual_seed(1)
    return TinyConv().eval()


def saved(path: Path, kind: str) -> Path:
    if kind == "TorchScript":
        torch.jit.script(net()).save(path)
    elif kind == "ExportedProgram":
        batch = {"x": {0: torch.export.Dim("batch")}}
        torch.export.save(torch.export.export(net(), (IMAGES,), dynamic_shapes=batch), path)
    else:
        torch.save(net(), path)
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def opened(path, folder, sha256=None):
    stage = OpenModule(str(path), sha256 or digest(path)).settle(world(folder))
    return run_stage(stage, {}, folder / "out")


@pytest.mark.parametrize("suffix", ["pt", "anything"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_named_file_is_opened_as_what_its_content_says(tmp_path, kind, suffix):
    result = opened(saved(tmp_path / f"net.{suffix}", kind), tmp_path)
    assert result.facts["source"]["file"] == kind
    assert torch.allclose(result.live(IMAGES), net()(IMAGES), atol=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_opened_can_be_put_in_evaluation_mode(tmp_path, kind):
    result = run_stage(SetEval(None), opened(saved(tmp_path / "net", kind), tmp_path), tmp_path / "eval")
    assert not result.live.training
    assert result.live(IMAGES[:1]).shape == (1, 10)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_not_named_is_refused_with_the_line_to_add(tmp_path, kind):
    path = saved(tmp_path / "net", kind)
    with pytest.raises(
        ConfigError, match=rf"(?s)\({kind}\) can run any code when it is loaded.*sha256={digest(path)} if"
    ):
        OpenModule(str(path), None).settle(world(tmp_path))


def test_a_file_of_another_digest_is_refused_with_both(tmp_path):
    path = saved(tmp_path / "net", "pickle")
    with pytest.raises(ConfigError, match=f"{digest(path)}; the configuration says {'0' * 64}"):
        OpenModule(str(path), "0" * 64).settle(world(tmp_path))


def evil(path):
    torch.save(Canary(path.parent / "canary"), path)
    return path


@pytest.mark.parametrize("sha256", [None, "0" * 64])
def test_an_evil_pickle_that_is_not_named_runs_nothing(tmp_path, sha256):
    with pytest.raises(ConfigError, match=r"What it wants to import: posix\.system"):
        OpenModule(str(evil(tmp_path / "net.pt")), sha256).settle(world(tmp_path))
    assert not (tmp_path / "canary").exists()


def test_an_evil_pickle_put_in_the_place_of_a_named_file_runs_nothing(tmp_path):
    path = saved(tmp_path / "net.pt", "pickle")
    stage = OpenModule(str(path), digest(path)).settle(world(tmp_path))
    evil(path)
    with pytest.raises(StageError, match=r"net\.pt changed since the plan was made"):
        run_stage(stage, {}, tmp_path / "out")
    assert not (tmp_path / "canary").exists()


def test_the_evil_pickle_would_have_run(tmp_path):
    with pytest.raises(StageError, match="holds int, no torch"):
        opened(evil(tmp_path / "net.pt"), tmp_path)
    assert (tmp_path / "canary").exists()


def test_weights_alone_are_sent_to_their_class(tmp_path):
    torch.save(net().state_dict(), tmp_path / "a")
    torch.save({"model": net().state_dict(), "epoch": 3}, tmp_path / "b")
    save_file(net().state_dict(), tmp_path / "c")
    for name in "abc":
        with pytest.raises(ConfigError, match=r"holds weights and no model(?s:.*)model=custom .*model.weights=FILE"):
            OpenModule(str(tmp_path / name), None).settle(world(tmp_path))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [0, 7, 0.5, 0.99])
def test_a_truncated_file_is_found_out_before_any_work(tmp_path, kind, size):
    path = saved(tmp_path / "net", kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(size if size >= 1 else len(data) * size)])
    with pytest.raises(ConfigError, match="holds no model that torch wrote"):
        OpenModule(str(path), None).settle(world(tmp_path))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_damaged_inside_is_told_in_one_line(tmp_path, kind):
    path = saved(tmp_path / "net", kind)
    with zipfile.ZipFile(path) as old:
        entries = {n: old.read(n) for n in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, data in entries.items():
            cut = name.endswith(("constants.pkl", "models/model.json", "data/0"))
            new.writestr(name, data[: len(data) // 2] if cut else data)
    pattern = r"is not read, for it is damaged" if kind == "ExportedProgram" else r"cannot be loaded: \w+Error: "
    with pytest.raises(StageError, match=rf"net \({kind}\) {pattern}"):
        opened(path, tmp_path)


def test_other_files_are_no_models(tmp_path):
    (tmp_path / "a").write_text("hello")
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr("a/b.txt", "hello")
    (tmp_path / "c").write_bytes(pickle.dumps(net()))
    for name, says in (("a", "no zip archive"), ("b", "not one of torch's"), ("c", "no zip archive")):
        with pytest.raises(ConfigError, match=says):
            OpenModule(str(tmp_path / name), None).settle(world(tmp_path))


def test_a_class_that_cannot_be_imported_is_found_out_before_any_work(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        m.setitem(sys.modules, "no_such_module", nets)
        m.setattr(TinyConv, "__module__", "no_such_module")
        path = saved(tmp_path / "net", "pickle")
    with pytest.raises(ConfigError, match="there is no module 'no_such_module' to import"):
        OpenModule(str(path), digest(path)).settle(world(tmp_path))


def test_a_class_that_is_gone_from_its_module_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(nets, "Gone", type("Gone", (nn.ReLU,), {"__module__": "nets"}), raising=False)
    torch.save(nets.Gone(), tmp_path / "net")
    monkeypatch.delattr(nets, "Gone")
    with pytest.raises(StageError, match=r"cannot be loaded: AttributeError: .*Gone"):
        opened(tmp_path / "net", tmp_path)


def test_a_class_of_the_script_that_saved_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(nets.TinyConv, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "TinyConv", TinyConv, raising=False)
    path = saved(tmp_path / "net", "pickle")
    with pytest.raises(ConfigError, match=r"__main__\.TinyConv, which was defined in the script that saved it"):
        OpenModule(str(path), digest(path)).settle(world(tmp_path))


def test_a_program_that_was_captured_in_training_is_refused(tmp_path):
    program = torch.export.export(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train(), (torch.rand(2, 4),))
    torch.export.save(program, tmp_path / "net")
    with pytest.raises(StageError, match=r"captured in training mode: aten\.dropout\.default"):
        opened(tmp_path / "net", tmp_path)


def test_the_identity_is_the_content_and_for_a_pickle_the_code_of_its_classes(tmp_path):
    here = world(tmp_path)
    script, whole = saved(tmp_path / "a", "TorchScript"), saved(tmp_path / "b", "pickle")
    assert OpenModule(str(script), digest(script)).settle(here).identity(here) == {"sha256": digest(script), "code": {}}
    assert list(OpenModule(str(whole), digest(whole)).settle(here).identity(here)["code"]) == ["nets"]


def test_the_facts_hold_no_place(tmp_path):
    result = opened(saved(tmp_path / "net", "pickle"), tmp_path)
    assert result.facts["weights"]["trained"] is True
    assert str(tmp_path) not in json.dumps([result.facts, result.notes])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_classes_of_a_pickle_are_read_off_it(tmp_path, protocol):
    torch.save([nn.Conv1d, nn.Conv2d, Path("x")], tmp_path / "net", pickle_protocol=protocol)
    with (tmp_path / "net").open("rb") as f:
        classes = torch_archive.classes(f)
    assert [n for n in classes if "conv" in n] == ["torch.nn.modules.conv.Conv1d", "torch.nn.modules.conv.Conv2d"]
    assert any(n.startswith("pathlib.") for n in classes)
