"""loading/checkpoint.py: what a weights file may hold, and how it gets into a module."""

from __future__ import annotations

import argparse
import json
import re

import pytest
import torch
from nets import TinyConv
from pickles import Canary
from safetensors.torch import save_file
from torch import nn
from torch.nn import utils

from pipeline.errors import ConfigError, StageError
from stages.loading import checkpoint, shards
from stages.loading.forms import quantized

PREFIXES = ["module.", "_orig_mod."]
TEACHER = {"conv.weight": torch.ones(1)}


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return TinyConv().state_dict()


def prefixed(state, prefix):
    return {f"{prefix}{k}": v for k, v in state.items()}


def picked(content, key=None, prefixes=PREFIXES):
    return checkpoint.pick(content, key, prefixes, TinyConv().state_dict(), "weights=net.pth")


def load(net, state, *, strict=True):
    return checkpoint.load_into(net, state, "weights=net.pth", strict=strict)


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "safetensors"])
def test_a_state_dict_is_read_back_as_it_was(tmp_path, state, suffix):
    path = tmp_path / f"net.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    read = checkpoint.read([path])
    assert {k: v.tolist() for k, v in read.items()} == {k: v.tolist() for k, v in state.items()}


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path):
    torch.save({"head.weight": Canary(tmp_path / "canary")}, tmp_path / "evil.pth")
    with pytest.raises(StageError, match=r"evil\.pth was refused: it is a pickle that wants to run code: posix.system"):
        checkpoint.read([tmp_path / "evil.pth"])
    assert not (tmp_path / "canary").exists()


def test_the_canary_would_sing_if_code_ran(tmp_path):
    torch.save({"head.weight": Canary(tmp_path / "canary")}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "canary").exists()


class Settings:
    """What a training script keeps its settings in."""

    def __setstate__(self, state):
        raise AssertionError("its code ran")


def test_arguments_that_a_training_script_saved_too_are_left_out_and_told(tmp_path, state):
    beside = {"args": argparse.Namespace(lr=1), "out": tmp_path, "more": [Settings()], "kind": nn.ReLU}
    torch.save({"model": state, **beside}, tmp_path / "net.pth")
    state_dict = picked(checkpoint.read([tmp_path / "net.pth"]))
    assert state_dict.state.keys() == state.keys()
    assert state_dict.says.startswith("took 'model', left out objects of argparse.Namespace, ")


def test_a_file_of_such_objects_alone_is_refused(tmp_path):
    torch.save({"model": TinyConv(), "args": argparse.Namespace(lr=1)}, tmp_path / "net.pth")
    with pytest.raises(StageError, match=r"(?s)wants to run code: .*keep the state dict alone: torch.save"):
        checkpoint.read([tmp_path / "net.pth"])


def lightning(state, **more):
    """As Lightning's Trainer saves it."""
    return {"pytorch-lightning_version": "2.5.0", "state_dict": state, "epoch": 3, **more}


@pytest.mark.parametrize("prefix", ["model.", "net.module.", "model._orig_mod."])
def test_of_a_lightning_module_the_part_is_taken_that_the_model_is(state, prefix):
    beside = {"loss.weight": torch.ones(3), "model_ema": torch.ones(1)}
    state_dict = picked(lightning({**beside, **prefixed(state, prefix)}))
    assert state_dict.state.keys() == state.keys()
    assert (
        state_dict.says
        == f"took 'state_dict', stripped '{prefix}', left out 2 tensors beside it: loss.weight, model_ema"
    )


def test_a_lightning_module_with_several_is_told_which_and_prefixes_chooses(state):
    content = lightning({**prefixed(state, "student."), **prefixed(TEACHER | state, "teacher.")})
    with pytest.raises(ConfigError, match=r"(?s)several times: student., teacher..*model.prefixes=\[student.\]"):
        picked(content)
    assert picked(content, prefixes=["teacher."]).says.startswith("took 'state_dict', stripped 'teacher.'")


@pytest.mark.parametrize("saved", [utils.weight_norm, utils.parametrizations.weight_norm])
@pytest.mark.parametrize("spelling", [None, utils.weight_norm, utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_normalised_weights_are_read_in_either_spelling(saved, spelling):
    source, net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
    x = torch.rand(2, 3, 5, 4)
    for layer in source:
        saved(layer)
    for layer in net if spelling else ():
        spelling(layer)
    state_dict = checkpoint.pick(source.state_dict(), None, PREFIXES, net.state_dict(), "weights=net.pth")
    load(net, state_dict.state)
    torch.testing.assert_close(net[0](x), source[0](x))
    torch.testing.assert_close(net[1](x), source[1](x))


@pytest.mark.parametrize(
    ("key", "library"),
    [
        ("conv.weight.absmax", "bitsandbytes"),
        ("conv.SCB", "bitsandbytes"),
        ("conv.qweight", "GPTQ or AWQ"),
        ("head._packed_params.dtype", "torch.ao.quantization"),
    ],
)
def test_quantized_weights_are_refused_with_what_to_do(state, key, library):
    with pytest.raises(StageError, match=rf"quantized by {library}: it has {key}(?s:.*)precision=int8_weights"):
        picked({**state, key: torch.ones(1)})


def test_a_pickle_of_quantized_tensors_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, path)
    with pytest.raises(StageError, match=r"quantized by torch: w is torch.qint8"):
        picked(checkpoint.read([path]))


def test_a_pickle_of_another_librarys_tensors_is_told_by_its_classes():
    (problem,) = quantized.refused(
        ["collections.OrderedDict", "torchao.dtypes.AffineQuantizedTensor"], "weights=net.pth"
    )
    assert problem.what == "weights=net.pth was quantized by torchao: it holds a torchao.dtypes.AffineQuantizedTensor"


def test_an_adapter_given_as_weights_is_told_where_it_goes(state):
    with pytest.raises(StageError, match=r"is a LoRA adapter, and no model(?s:.*)also=adapter stages.adapter.folder="):
        picked({"base_model.model.head.lora_A.weight": torch.ones(2, 4)})


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(TinyConv(), tmp_path / "whole.pth")
    with pytest.raises(StageError, match=r"whole.pth was refused.*(?s:.*)torch.save\(model.state_dict\(\)"):
        checkpoint.read([tmp_path / "whole.pth"])


@pytest.mark.parametrize("kind", ["TorchScript", "ExportedProgram"])
def test_a_whole_model_is_told_from_weights(tmp_path, kind):
    path, net = tmp_path / "net.pt", TinyConv().eval()
    if kind == "TorchScript":
        torch.jit.script(net).save(path)
    else:
        torch.export.save(torch.export.export(net, (torch.rand(2, 3, 8, 8),)), path)
    with pytest.raises(StageError, match=rf"(?s)holds a whole model \({kind}\), not weights.*model=module_file"):
        checkpoint.read([path])


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("size_", [0, 7, 0.5, 0.99])
def test_a_truncated_file_is_named_with_its_size(tmp_path, state, suffix, size_):
    path = tmp_path / f"net.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    size = int(size_ if size_ >= 1 else path.stat().st_size * size_)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StageError, match=rf"net.{suffix} cannot be read as a checkpoint \({size} bytes\)"):
        checkpoint.read([path])


@pytest.mark.parametrize(
    ("wrap", "key", "says"),
    [
        (lambda s: s, None, ""),
        (lambda s: {"epoch": 3, "state_dict": s}, None, "took 'state_dict'"),
        (lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}}, None, "took 'model'"),
        (lambda s: {"ema": {"state_dict": s, "decay": 0.9}}, None, "took 'ema.state_dict'"),
        (lambda s: {"model": s, "ema": s}, "ema", "took 'ema'"),
        (lambda s: {"last.ckpt": {"model": s}}, "last.ckpt.model", "took 'last.ckpt.model'"),
        (lambda s: {"ema": {"shadow": s}}, "ema.shadow", "took 'ema.shadow'"),
        (lambda s: {"model": s, "ema": TEACHER}, None, "took 'model'"),
        (lambda s: prefixed(s, "module."), None, "stripped 'module.'"),
        (lambda s: prefixed(s, "module._orig_mod."), None, "stripped 'module.', stripped '_orig_mod.'"),
        (lambda s: {"net": prefixed(s, "module.")}, None, "took 'net', stripped 'module.'"),
    ],
)
def test_the_state_dict_is_found_and_what_was_done_is_told(state, wrap, key, says):
    state_dict = picked(wrap(state), key)
    assert state_dict.says == says
    assert list(state_dict.state) == list(state)


def test_a_prefix_that_is_a_part_of_the_names_stays():
    net = torch.nn.ModuleDict({"module": TinyConv()})
    state_dict = checkpoint.pick(net.state_dict(), None, PREFIXES, net.state_dict(), "weights=net.pth")
    assert state_dict.says == ""


def test_a_prefix_that_leaves_a_fitting_key_behind_stays(state):
    bias = state.pop("head.bias")
    assert picked({**prefixed(state, "module."), "head.bias": bias}).says == ""


def test_a_counter_beside_the_wrapped_keys_does_not_hide_them(state):
    state_dict = picked({"n_averaged": torch.tensor(3), **prefixed(state, "module.")})
    assert set(state_dict.state) - set(state) == {"n_averaged"}


@pytest.mark.parametrize(
    ("wrap", "key", "error", "says"),
    [
        (
            lambda s: {"model": s, "ema": s},
            None,
            ConfigError,
            r"several state dicts: model, ema(?s:.*)checkpoint_key=ema",
        ),
        (lambda s: {"epoch": 3, "state_dict": {}}, None, StageError, "no state dict but epoch, state_dict"),
        (lambda s: [torch.ones(1)], None, StageError, "no state dict but list"),
        (lambda s: {"student": s, "epoch": 1}, None, StageError, r"(?s)but student, epoch.*checkpoint_key=student"),
        (lambda s: {"model": s, "ema": s}, "emma", ConfigError, r"did you mean 'ema'\?(?s:.*)allowed: model, ema"),
        (lambda s: {"model": s, "epoch": 3}, "epoch", ConfigError, r"no state dict there(?s:.*)allowed: model"),
        (lambda s: {"ema": {"shadow": s}}, "ema.shadw", ConfigError, "did you mean 'ema.shadow'"),
        (lambda s: s, "ema", ConfigError, "no state dict there(?s:.*)allowed: null"),
    ],
)
def test_what_cannot_be_picked_is_told_with_what_is_there(state, wrap, key, error, says):
    with pytest.raises(error, match=says):
        picked(wrap(state), key)


def test_loading_is_strict_and_tells_everything_at_once(state):
    state["head.wieght"] = state.pop("head.weight")
    state["conv.weight"] = torch.ones(4, 1, 3, 3)
    with pytest.raises(StageError) as caught:
        load(TinyConv(), state)
    missing, unexpected, shapes = (p.what for p in caught.value.problems)
    assert missing == "weights=net.pth lacks 1 keys of the model: head.weight"
    assert unexpected == "weights=net.pth has 1 keys that the model does not know: head.wieght"
    assert shapes.endswith("conv.weight is (4, 1, 3, 3) in the file and (4, 3, 3, 3) in the model")
    assert "model.strict=false" in str(caught.value)


def test_no_more_than_ten_keys_are_listed(state):
    state |= {f"extra.{i}": torch.ones(1) for i in range(12)}
    with pytest.raises(StageError, match=r"has 12 keys .*: (extra\.\d, ){9}extra\.9 … and 2 more"):
        load(TinyConv(), state)


def test_a_model_is_left_as_it_was_when_its_weights_do_not_fit(state):
    net = TinyConv()
    before = net.conv.weight.clone()
    del state["head.bias"]
    with pytest.raises(StageError):
        load(net, state)
    assert torch.equal(net.conv.weight, before)


def test_without_strict_what_fits_is_loaded_and_the_rest_told(state):
    net = TinyConv()
    state["head.wieght"] = state.pop("head.weight")
    state["conv.bias"] = torch.ones(1)
    mismatch = load(net, state, strict=False)
    assert torch.equal(net.head.bias, state["head.bias"])
    assert mismatch.drawn == ("head.weight", "conv.bias")
    assert re.search(r"lacks 1 .*head.weight; it has 1 .*head.wieght; it has 1 .*conv.bias is \(1,\)", mismatch.caution)


def test_without_strict_a_file_of_which_nothing_fits_is_still_refused():
    with pytest.raises(StageError, match="lacks 9 keys"):
        load(TinyConv(), {"encoder.weight": torch.ones(1)}, strict=False)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_as_one(tmp_path, state, suffix):
    files = sharded(tmp_path, state, suffix)
    assert sorted(checkpoint.read(files)) == sorted(state)


def test_a_shard_without_what_the_index_promises_is_named(tmp_path, state):
    files = sharded(tmp_path, state, "safetensors")
    save_file({"other": torch.ones(1)}, files[1])
    with pytest.raises(StageError, match=r"model-1.safetensors lacks 5 tensors .*conv.weight"):
        checkpoint.read(files)


def test_a_damaged_shard_is_named(tmp_path, state):
    files = sharded(tmp_path, state, "safetensors")
    files[2].write_bytes(files[2].read_bytes()[:-8])
    with pytest.raises(StageError, match=r"model-2.safetensors cannot be read"):
        checkpoint.read(files)


def sharded(folder, state, suffix):
    """The index and shards of a state dict, as save_pretrained writes them."""
    names = {k: f"model-{1 + (i >= 5)}.{suffix}" for i, k in enumerate(state)}
    for shard in sorted(set(names.values())):
        part = {k: v for k, v in state.items() if names[k] == shard}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / shard)
    (folder / f"model.{suffix}.index.json").write_text(json.dumps({"weight_map": names}))
    return shards.files(folder)
