"""loading/load_weights.py."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import nets
import pytest
import torch
from harness import contents, run_stage, world
from nets import TinyConv
from pickles import Canary
from safetensors.torch import save_file

from pipeline.errors import ConfigError, StageError
from pipeline.machine.world import code_identity
from stages.loading import weights as weights_source
from stages.loading.load_weights import LoadWeights


def load(weights="random", *, factory="nets.TinyConv", kwargs=None, pretrained=None, seed=0, **settings):
    fields = {"sha256": None, "checkpoint_key": None, "prefixes": ["module.", "_orig_mod."], "strict": True} | settings
    return LoadWeights(factory, kwargs or {}, str(weights), pretrained=pretrained, seed=seed, **fields)


def published(weights="auto"):
    """One of the smallest models that torchvision publishes weights for."""
    return load(weights, factory="torchvision.models.squeezenet1_1", pretrained="torchvision")


@pytest.fixture
def file(tmp_path) -> Path:
    """A trained TinyConv's state dict, in a folder of the user's own."""
    path = tmp_path / "mine" / "net.pth"
    path.parent.mkdir()
    torch.manual_seed(1)
    torch.save(TinyConv().state_dict(), path)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty torch.hub folder, so that no test sees or touches the one of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def publish(hub, tmp_path, monkeypatch):
    """Puts a file into torch.hub's folder that torchvision, as far as we know, published for a model."""

    def write(state, model="squeezenet1_1"):
        torch.save(state, tmp_path / "published")
        name = f"{model}-{hashlib.sha256((tmp_path / 'published').read_bytes()).hexdigest()[:8]}.pth"
        (tmp_path / "table.json").write_text(json.dumps({model: name}))
        monkeypatch.setattr(weights_source, "TORCHVISION_FILES", tmp_path / "table.json")
        return shutil.move(tmp_path / "published", hub / name)

    return write


def weights_of(artifact):
    return {name: tensor.tolist() for name, tensor in artifact.live.state_dict().items()}


def test_a_file_is_loaded_and_left_unchanged(file, tmp_path):
    before = contents(file.parent)
    stage = load(file).settle(world(tmp_path))
    result = run_stage(stage, {}, tmp_path / "out")
    assert weights_of(result) == {k: v.tolist() for k, v in torch.load(file, weights_only=True).items()}
    assert contents(file.parent) == before


def test_safetensors_load_the_same_weights(file, tmp_path):
    save_file(torch.load(file, weights_only=True), file.with_suffix(".safetensors"))
    first = run_stage(load(file), {}, tmp_path / "pth")
    assert weights_of(run_stage(load(file.with_suffix(".safetensors")), {}, tmp_path / "st")) == weights_of(first)


def test_the_facts_say_which_file_without_saying_where_it_was(file, tmp_path):
    result = run_stage(load(file).settle(world(tmp_path)), {}, tmp_path / "out")
    assert result.facts["weights"]["trained"] is True
    assert result.facts["weights"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert str(tmp_path) not in str(result.facts)


def test_the_facts_say_how_large_the_model_is(tmp_path):
    result = run_stage(load(), {}, tmp_path / "out")
    # Float32: 108 + 4 of the convolution, 16 of the norm, 50 of the head; one int64 that counts batches.
    assert result.facts["source"]["bytes"] == 4 * (112 + 16 + 50) + 8


def test_keys_that_do_not_fit_are_listed(file, tmp_path):
    stage = load(file, kwargs={"classes": 7})
    with pytest.raises(StageError, match=r"weights=net.pth has 2 tensors of another shape: head.weight is \(10, 4\)"):
        run_stage(stage, {}, tmp_path / "out")


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    torch.save({"head.weight": Canary(tmp_path / "canary")}, tmp_path / "evil.pth")
    stage = load(tmp_path / "evil.pth").settle(world(tmp_path))
    with pytest.raises(StageError, match="wants to run code"):
        run_stage(stage, {}, tmp_path / "out")
    assert not (tmp_path / "canary").exists()


def test_a_published_file_that_would_run_code_is_refused_and_runs_none(publish, tmp_path):
    publish({"classifier.1.weight": Canary(tmp_path / "canary")})
    with pytest.raises(StageError, match="wants to run code"):
        run_stage(published().settle(world(tmp_path)), {}, tmp_path / "out")
    assert not (tmp_path / "canary").exists()


def test_a_pinned_digest_that_differs_is_refused(file, tmp_path):
    with pytest.raises(ConfigError, match=f"the configuration says {'0' * 64}"):
        load(file, sha256="0" * 64).settle(world(tmp_path))


def test_a_pinned_digest_that_agrees_is_accepted(file, tmp_path):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert load(file, sha256=digest).settle(world(tmp_path)).sha256 == digest


def test_a_file_that_changed_since_the_plan_is_refused(file, tmp_path):
    stage = load(file).settle(world(tmp_path))
    torch.save({k: v + 1 for k, v in torch.load(file, weights_only=True).items()}, file)
    with pytest.raises(StageError, match=r"net\.pth"):  # its key would stand for weights that it does not have
        run_stage(stage, {}, tmp_path / "out")


def test_a_file_that_is_not_there_is_found_out_in_the_plan(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing.pth cannot be read"):
        load(tmp_path / "nothing.pth").settle(world(tmp_path))


def test_the_identity_is_the_content_and_not_the_place(file, tmp_path):
    elsewhere = shutil.copy(file, tmp_path / "renamed.pt")
    here = world(tmp_path)
    identity = load(file).settle(here).identity(here)
    assert load(elsewhere).settle(here).identity(here) == identity
    assert str(tmp_path) not in str(identity)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"kwargs": {"classes": 5}}, {"factory": "nets.TwoOutputs"}], ids=lambda o: next(iter(o))
)
def test_what_changes_the_weights_changes_the_identity(tmp_path, other):
    assert load(**other).identity(world(tmp_path)) != load().identity(world(tmp_path))


def test_the_code_of_objects_in_the_arguments_is_part_of_the_identity(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    identities = []
    for text in ("class Part: pass", "class Part: size = 3"):
        (tmp_path / "drydock_part.py").write_text(text)
        code_identity.cache_clear()
        stage = load(kwargs={"classes": {"_target_": "drydock_part.Part"}})
        identities.append(stage.identity(world(tmp_path)))
    assert identities[0]["kwargs"] == identities[1]["kwargs"]
    assert identities[0]["built"] != identities[1]["built"]
    assert "built" not in load().identity(world(tmp_path))


def test_a_torchvision_model_of_no_such_name_is_told_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"resnt18, which torchvision does not know, did you mean 'resnet18'\?"):
        run_stage(load(factory="torchvision.models.get_model", kwargs={"name": "resnt18"}), {}, tmp_path / "out")


def test_a_seed_does_not_matter_to_weights_from_a_file(file, tmp_path):
    here = world(tmp_path)
    assert load(file, seed=1).settle(here).identity(here) == load(file, seed=2).settle(here).identity(here)


def test_random_weights_follow_from_the_seed(tmp_path):
    first, again, other = (
        weights_of(run_stage(load(seed=s), {}, tmp_path / d)) for s, d in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first == again
    assert first["conv.weight"] != other["conv.weight"]


def test_random_weights_do_not_disturb_the_callers_generator(tmp_path):
    torch.manual_seed(7)
    undisturbed = torch.rand(3)
    torch.manual_seed(7)
    run_stage(load(), {}, tmp_path / "out")
    assert torch.equal(torch.rand(3), undisturbed)


def test_random_weights_are_marked_untrained(tmp_path):
    weights = run_stage(load(seed=3), {}, tmp_path / "out").facts["weights"]
    assert weights["trained"] is False
    assert weights["says"].startswith("UNTRAINED: drawn at random with seed 3")


@pytest.mark.parametrize("pretrained", ["torchvision", None])
def test_auto_settles_for_random_when_nothing_can_be_had(hub, tmp_path, pretrained):
    stage = load("auto", factory="torchvision.models.squeezenet1_1", pretrained=pretrained).settle(world(tmp_path))
    assert stage.weights == "random"
    assert "UNTRAINED" in stage.describe()


def test_a_plan_does_not_download(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_source, "fetch", lambda *_, **__: pytest.fail("a plan downloads nothing"))
    assert published().settle(world(tmp_path)).weights == "random"


def test_pretrained_that_cannot_be_had_is_refused_with_what_to_do(hub, tmp_path):
    with pytest.raises(
        ConfigError, match=r"(?s)a plan downloads nothing.*model.weights=/path/to/squeezenet1_1-b8a52dc0.pth"
    ):
        published("pretrained").settle(world(tmp_path))


@pytest.mark.parametrize("pretrained", ["torchvision", None])
def test_pretrained_without_published_weights_is_a_problem(pretrained):
    (problem,) = load("pretrained", pretrained=pretrained).problems()
    assert problem.what.startswith("weights is pretrained, but no published weights are known for nets.TinyConv")


def test_models_by_name_find_their_published_weights():
    stage = load(
        "pretrained", factory="torchvision.models.get_model", kwargs={"name": "vgg11"}, pretrained="torchvision"
    )
    assert stage.problems() == []


@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_a_published_file_with_other_digits_than_its_name_is_refused(hub, tmp_path, weights):
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"(?s)is damaged: .*begins with b8a52dc0.*rm "):
        published(weights).settle(world(tmp_path))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_published_file_is_loaded_as_torchvision_loads_it_wherever_it_lies(publish, tmp_path, elsewhere):
    from torchvision.models import googlenet

    state = googlenet(init_weights=False).state_dict()
    file = publish(state, "googlenet")
    weights = shutil.copy(file, tmp_path / "mine.pth") if elsewhere else "pretrained"
    stage = load(weights, factory="torchvision.models.googlenet", pretrained="torchvision").settle(world(tmp_path))
    net = run_stage(stage, {}, tmp_path / "out").live
    assert torch.equal(net.fc.weight, state["fc.weight"])
    assert net.transform_input  # as published, and not as the builder's default


def test_a_published_file_for_another_number_of_classes_is_refused(publish, tmp_path):
    from torchvision.models import squeezenet1_1

    publish(squeezenet1_1().state_dict())
    stage = dataclasses.replace(published(), kwargs={"num_classes": 7}).settle(world(tmp_path))
    with pytest.raises(ConfigError, match=r"num_classes' expected value 1000 but got 7"):
        run_stage(stage, {}, tmp_path / "out")


@pytest.mark.parametrize(
    ("factory", "kwargs", "says"),
    [
        ("no_such_package.Net", {}, "there is no module 'no_such_package' to import"),
        ("nets.TinyCnv", {}, "nets has no 'TinyCnv' to call, did you mean 'TinyConv'?"),
        ("nets.nn", {}, "nets has no 'nn' to call"),
        ("nets.small.TinyConv", {}, "cannot be imported"),
        ("nets", {}, "factory nets"),
        ("nets.not_a_module", {}, "returned dict"),
        ("nets.TinyConv", {"clases": 3}, "does not accept kwargs.*clases"),
        ("nets.TinyConv", {"classes": 0}, "does not accept kwargs.*classes is 0"),
    ],
)
def test_a_factory_that_cannot_be_used_is_named(tmp_path, factory, kwargs, says):
    with pytest.raises(ConfigError, match=says):
        run_stage(load(factory=factory, kwargs=kwargs).settle(world(tmp_path)), {}, tmp_path / "out")


def test_a_factorys_kwargs_reach_it(tmp_path):
    assert run_stage(load(kwargs={"classes": 7}), {}, tmp_path / "out").live.head.out_features == 7


def test_a_model_that_would_answer_zero_to_everything_is_enlivened(tmp_path, monkeypatch):
    monkeypatch.setattr(nets.TinyConv, "forward", lambda self, x: x)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda self: [p.data.zero_() for p in self.parameters()])
    assert run_stage(load(), {}, tmp_path / "out").live.head.weight.any()


@pytest.mark.parametrize(
    ("factory", "kwargs"),
    [
        ("torchvision.models.segmentation.lraspp_mobilenet_v3_large", {}),
        ("torchvision.models.get_model", {"name": "fcn_resnet50"}),
        ("torchvision.models.detection.ssdlite320_mobilenet_v3_large", {}),
        ("torchvision.models.get_model", {"name": "googlenet"}),
        ("timm.create_model", {"model_name": "test_resnet", "pretrained": False}),
    ],
)
def test_random_weights_are_drawn_without_any_download(hub, tmp_path, no_network, factory, kwargs):
    assert run_stage(load(factory=factory, kwargs=kwargs).settle(world(tmp_path)), {}, tmp_path / "out").live


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "shufflenet_v2_x0_5"])
def test_random_models_answer_different_things_to_different_images(tmp_path, name):
    net = run_stage(load(factory=f"torchvision.models.{name}"), {}, tmp_path / "out").live.eval()
    first, second = net(torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(0))).detach()
    assert (first - second).abs().max() > 1e-4 * first.abs().max()


@pytest.mark.parametrize(
    ("factory", "kwargs", "says"),
    [
        ("torchvision.models.resnet18", {"weights": "DEFAULT"}, "kwargs.weights is DEFAULT: torchvision would read"),
        ("torchvision.models.get_model", {"weights_backbone": "DEFAULT"}, "kwargs.weights_backbone is DEFAULT"),
        ("timm.create_model", {"model_name": "resnet18", "pretrained": True}, "kwargs.pretrained is True: timm would"),
        ("timm.create_model", {"model_name": "resnet18", "checkpoint_path": "x"}, "kwargs.checkpoint_path is x"),
        ("timm.create_model", {"model_name": "hf-hub:org/net"}, "kwargs.model_name is hf-hub:org/net: timm would"),
        (
            "nets.TinyConv",
            {"part": {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained": True}},
            "kwargs.part.pretrained is True: timm would",
        ),
    ],
)
def test_a_builder_that_would_fetch_weights_by_itself_is_a_problem(factory, kwargs, says):
    (problem,) = load(factory=factory, kwargs=kwargs).problems()
    assert problem.what.startswith(says)


def test_a_timm_model_of_no_such_name_is_told_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"resnt18, which timm does not know, did you mean 'resnet18'\?"):
        run_stage(load(factory="timm.create_model", kwargs={"model_name": "resnt18"}), {}, tmp_path / "out")


def test_what_was_picked_and_stripped_is_noted(file, tmp_path):
    state = {f"module.{k}": v for k, v in torch.load(file, weights_only=True).items()}
    torch.save({"epoch": 3, "model": state}, file)
    result = run_stage(load(file).settle(world(tmp_path)), {}, tmp_path / "out")
    assert result.notes == {"says": "took 'model', stripped 'module.'"}


def test_several_state_dicts_are_told_apart_by_key(file, tmp_path):
    state = torch.load(file, weights_only=True)
    torch.save({"model": state, "ema": {k: v + 1 for k, v in state.items()}}, file)
    stage = load(file).settle(world(tmp_path))
    with pytest.raises(ConfigError, match=r"net\.pth holds several state dicts: model, ema"):
        run_stage(stage, {}, tmp_path / "several")
    result = run_stage(dataclasses.replace(stage, checkpoint_key="ema"), {}, tmp_path / "out")
    assert torch.equal(result.live.head.bias, state["head.bias"] + 1)


def test_without_strict_what_was_left_out_is_a_caution_and_marked_untrained(file, tmp_path):
    result = run_stage(load(file, kwargs={"classes": 7}, strict=False).settle(world(tmp_path)), {}, tmp_path / "out")
    assert "head.weight is (10, 4) in the file and (7, 4) in the model" in result.notes["caution"]
    assert result.facts["weights"]["says"].endswith("2 of its 9 tensors UNTRAINED")


@pytest.fixture
def shards(file, tmp_path):
    """The same weights in two shards with an index."""
    state = torch.load(file, weights_only=True)
    folder = tmp_path / "shards"
    folder.mkdir()
    names = {k: f"model-{len(k) % 2}.safetensors" for k in state}
    for name in set(names.values()):
        save_file({k: v for k, v in state.items() if names[k] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder


@pytest.mark.parametrize("place", ["", "model.safetensors.index.json"])
def test_shards_load_the_same_weights(shards, file, tmp_path, place):
    first = run_stage(load(file), {}, tmp_path / "one")
    result = run_stage(load(shards / place).settle(world(tmp_path)), {}, tmp_path / "out")
    assert weights_of(result) == weights_of(first)


@pytest.mark.parametrize("name", ["model-0.safetensors", "model-1.safetensors", "model.safetensors.index.json"])
def test_every_shard_counts(shards, tmp_path, name):
    here = world(tmp_path)
    settled = load(shards).settle(here)
    (shards / name).write_bytes((shards / name).read_bytes() + b" ")
    assert load(shards).settle(here).identity(here) != settled.identity(here)
    with pytest.raises(ConfigError, match="the configuration says"):
        load(shards, sha256=settled.sha256).settle(here)
    with pytest.raises(StageError, match="changed since the plan was made"):
        run_stage(settled, {}, tmp_path / "out")


def test_an_empty_prefix_is_a_problem():
    assert [p.what for p in load(prefixes=["module.", ""]).problems()] == ["prefixes has an empty one"]


def test_a_lightning_checkpoint_says_what_its_model_was_built_with(tmp_path):
    state = {f"model.{k}": v for k, v in TinyConv(classes=4).state_dict().items()}
    recorded = {"classes": 4, "lr": 0.1, "name": None}
    content = {"pytorch-lightning_version": "2.5.0", "state_dict": state, "hyper_parameters": recorded}
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(StageError, match=r"(?s)hyper_parameters are classes: 4.*'\+model.kwargs=\{classes: 4\}'"):
        run_stage(load(tmp_path / "last.ckpt").settle(world(tmp_path)), {}, tmp_path / "ten")
    result = run_stage(
        load(tmp_path / "last.ckpt", kwargs={"classes": 4}).settle(world(tmp_path)), {}, tmp_path / "four"
    )
    assert result.notes["says"] == "took 'state_dict', stripped 'model.'"
