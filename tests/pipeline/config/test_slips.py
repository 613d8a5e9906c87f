"""Slips on the command line: exit code 2, and a line that works when it is pasted."""

from __future__ import annotations

import copy
import functools
import shlex
import sys

import pytest
from compositions import loader
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode

from pipeline import errors
from pipeline.config import again, complaints, compose, flags, help  # noqa: A004
from pipeline.config.compose import CONF
from pipeline.config.schema import ROOT
from pipeline.errors import ConfigError
from pipeline.printable import as_typed

CUSTOM = "model=custom model.factory=net.Net model.weights=random"
# What was typed, and what of it is meant, after the name of the program.
SLIPS = [
    # Dashes, which Hydra's parser swallows or ends at.
    ("-precision=int8", "precision=int8"),
    ("target=onnx -plan=true", "target=onnx plan=true"),
    ("-p recision=int8", "recision=int8"),
    ("-p model", "--cfg job -p model"),
    ("--precision=int8", "precision=int8"),
    ("--precision int8", "precision=int8"),
    ("--target onnx --opset 20", "target=onnx opset=20"),
    ("--model.weights=random", "model.weights=random"),
    ("--dry-run", "plan=true"),
    ("-n target=onnx", "plan=true target=onnx"),
    ("--plan", "plan=true"),
    ("--verbose", "hydra.verbose=true"),
    ("--fp16", "precision=fp16"),
    ("--output-dir out", "output=out"),
    ("-o out", "output=out"),
    ("--format onnx", "target=onnx"),
    ("--opsett 17", "opset=17"),
    ("--list-models", "--help"),
    ("--nonsense", "--help"),
    ("-help", "--help"),
    ("--multi opset=18,20", "--multirun opset=18,20"),
    ("--config-path mine", "--config-dir mine"),
    ("--config-name resnet50_openvino_fp16", "experiment=resnet50_openvino_fp16"),
    ("--info target=onnx", "--info all target=onnx"),
    # Order.
    ("seed=1 -m opset=18,20", "-m seed=1 opset=18,20"),
    ("opset=18,20", "-m opset=18,20"),
    ("target=onnx --cfg job opset=20", "--cfg job target=onnx opset=20"),
    # Quotes and spaces.
    ("model.dims.batch={min: 1, opt: 2, max: 4}", "'model.dims.batch={min: 1, opt: 2, max: 4}'"),
    ("model.dims.batch=min:1 model.dims.batch=opt:2", "'model.dims.batch={min: 1, opt: 2}'"),
    ("also=benchmark also=image", "'also=[benchmark, image]'"),
    ("model.inputs.input.shape=[batch, 3, 64, 64]", "'model.inputs.input.shape=[batch, 3, 64, 64]'"),
    ("precision = int8", "precision=int8"),
    ("precision= int8", "precision=int8"),
    ("precision =int8", "precision=int8"),
    ("precision==int8", "precision=int8"),
    ("precision:int8", "precision=int8"),
    (f"{CUSTOM} model.weights=a=b.pth", f"{CUSTOM} 'model.weights=\"a=b.pth\"'"),
    (f"{CUSTOM} 'model.weights=net (1).pth'", f"{CUSTOM} 'model.weights=\"net (1).pth\"'"),
    # Words.
    ("doctor target=onnx", "doctor target=onnx"),
    ("inspect net.onnx", "inspect net.onnx"),
    ("plan target=onnx", "target=onnx plan=true"),
    ("list", "--help"),
    ("resnet50", "model=resnet50"),
    ("model=resnet50 onnx", "model=resnet50 target=onnx"),
    ("net.onnx", "model=onnx_file model.weights=net.onnx"),
    # Options of groups.
    ("model=resnet5", "model=resnet50"),
    ("model=ResNet-50", "model=resnet50"),
    ("model=resnet101", "model=torchvision model.name=resnet101"),
    ("model=deeplabv3_resnet50", "model=torchvision_segmentation model.name=deeplabv3_resnet50"),
    ("model=convnext_tiny", "model=torchvision model.name=convnext_tiny"),
    ("model=convnext_atto", "model=timm model.name=convnext_atto"),
    ("model=convnext_atto.d2_in1k", "model=timm model.name=convnext_atto.d2_in1k"),
    ("model=net.onnx", "model=onnx_file model.weights=net.onnx"),
    ("model=net.tflite", "model=file model.path=net.tflite"),
    ("model=my_pkg.net.Net", "model=custom model.factory=my_pkg.net.Net model.weights=random"),
    (
        "model=prajjwal1/bert-tiny",
        "model=transformers model.factory=transformers.AutoModel model.weights=prajjwal1/bert-tiny",
    ),
    ("target=openvin", "target=openvino"),
    ("target=int8", "precision=int8"),
    ("target=trt", "target=tensorrt"),
    ("precision=16", "precision=fp16"),
    ("precision=float16", "precision=fp16"),
    ("hydra/launcher=slurmm", "hydra/launcher=slurm"),
    ("hydra/sweeper=optuna -m opset=18,20", "-m hydra/sweeper=optuna opset=18,20"),
    ("-m hydra/sweeper=optuna opset=18,20", "-m opset=18,20"),
    ("hydra.job.chdir=true target=onnx", "target=onnx"),
    ("target=coreml precision=int8", "target=coreml precision=int8_weights"),
    # Keys.
    ("vars.width=8", "+vars.width=8"),
    ("modle=resnet50", "model=resnet50"),
    (f"{CUSTOM} weights=net.pth", f"{CUSTOM} model.weights=net.pth"),
    ("format=onnx", "target=onnx"),
    ("dtype=half", "precision=fp16"),
    ("quant=int8", "precision=int8"),
    ("batch=4", "model.dims.batch.opt=4 model.dims.batch.max=4"),
    ("export.opset=18", "stages.export.opset=18"),
    ("stages.export.opsett=18", "stages.export.opset=18"),
    ("~simplify", "'~stages.simplify'"),
    ("~stages.simplfy", "'~stages.simplify'"),
    ("'model.kwargs={num_classes: 10}'", "'+model.kwargs={num_classes: 10}'"),
    ("model.kwargs.num_classes=10", "+model.kwargs.num_classes=10"),
    ("'model.dims.height={min: 32, opt: 64, max: 96}'", "'+model.dims.height={min: 32, opt: 64, max: 96}'"),
    ("model.dims.batch=4", "'model.dims.batch={min: 1, opt: 4, max: 4}'"),
    ("model.outputs=logits", "'model.outputs=[logits]'"),
    ("+my.width=8 'model.name=${my.width}'", "+vars.my.width=8 'model.name=${vars.my.width}'"),
    ("+experimnt=resnet50_openvino_fp16", "experiment=resnet50_openvino_fp16"),
]


def words_of(typed):
    """The words of a command as a shell splits it; brackets without quotes stay."""
    return shlex.split(typed)


@pytest.fixture(autouse=True)
def _choices_composed_once(monkeypatch):
    """Hydra composes anew for each command; here once for each set of choices, and puts the values in, as it does."""
    whole = ConfigLoaderImpl._load_configuration_impl

    def load(self, config_name, overrides, run_mode, **how):
        parsed, repository = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        if how.get("validate_sweep_overrides", True):
            self.validate_sweep_overrides_legal(parsed, run_mode, from_shell=True)
        values = [o for o in parsed if not (repository.group_exists(o.key_or_group) or o.is_sweep_override())]
        choices = tuple(o.input_line for o in parsed if o not in values and not o.is_sweep_override())
        if (choices, run_mode) not in COMPOSED:
            COMPOSED[choices, run_mode] = whole(self, config_name, [*choices], run_mode, **how)
        cfg = copy.deepcopy(COMPOSED[choices, run_mode])
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        return cfg

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", load)


COMPOSED = {}


@functools.cache
def attempt(*words):
    """Handles the words of a command, without a run. Raises DrydockError."""
    sys.argv[1:] = words
    flags.refuse(words, ROOT, CONF)
    if help.answer(words) is not None or words[:1] == ("--info",):
        return
    rest = [*words]
    mode = RunMode.MULTIRUN if {"-m", "--multirun"} & set(rest) else RunMode.RUN
    for flag in ("--cfg", "-p", "--config-dir"):
        if flag in rest:
            del rest[rest.index(flag) : rest.index(flag) + 2]
    overrides = [w for w in rest if not w.startswith("-")]
    try:
        cfg = loader().load_configuration("config", overrides, mode)
    except complaints.RAISED as e:
        raise complaints.of_hydra(e, CONF) from e
    compose.refuse_unknown(cfg, overrides)


# Two slips in one command: what the line for the first leads to.
SLIPS_AGAIN = {"recision=int8": "precision=int8", "-m hydra/sweeper=optuna opset=18,20": "our sweeper runs a grid"}
# Each takes a composition of its own, and others are like it.
SLOW = (
    "also=benchmark",
    "target=coreml",
    "+experimnt",
    "model=net.onnx",
    "hydra/launcher",
    "target=trt",
    "net.tflite",
    "deeplabv3",
    "prajjwal1",
    "convnext_atto.",
    "--fp16",
    "-config-name",
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [pytest.param(*row, id=row[0], marks=[pytest.mark.slow] * any(s in row[0] for s in SLOW)) for row in SLIPS],
)
def test_a_slip_is_refused_with_the_line_that_was_meant(monkeypatch, typed, meant):
    monkeypatch.setattr(sys, "argv", ["pipeline"])
    with pytest.raises(ConfigError) as caught:
        attempt(*words_of(typed))
    assert caught.value.exit_code == errors.USAGE
    (problem,) = caught.value.problems
    program, *words = problem.command.removeprefix("python -m ").split(" ", 1)
    command = program.partition(".")[2]
    assert " ".join([*filter(None, [command]), *words]) == meant
    if command:
        return  # another command's, which has tests of its own
    monkeypatch.setattr(sys, "argv", ["pipeline"])
    if meant in SLIPS_AGAIN:
        with pytest.raises(ConfigError, match=SLIPS_AGAIN[meant]):
            attempt(*shlex.split(meant))
    else:
        attempt(*shlex.split(meant))


def test_inputs_are_those_that_a_command_line_names_and_keep_what_it_does_not_say():
    custom = CUSTOM.split()
    cfg = loader().load_configuration("config", [*custom, "model.inputs={mels: {shape: [batch, 80]}}"], RunMode.RUN)
    assert cfg.model.inputs == {"mels": {"shape": ["batch", 80]}}
    cfg = loader().load_configuration("config", [*custom, "model.inputs={input: {fill: normal}}"], RunMode.RUN)
    assert cfg.model.inputs == {"input": {"shape": ["batch", 3, 224, 224], "dtype": "float32", "fill": "normal"}}


def test_an_input_of_a_file_is_named_by_its_key_alone():
    words = ["model=onnx_file", "model.weights=net.onnx", "model.inputs.image.shape=[batch,3,64,64]"]
    cfg = loader().load_configuration("config", [*words, "model.inputs.image.dtype=float16"], RunMode.RUN)
    assert cfg.model.inputs == {"image": {"shape": ["batch", 3, 64, 64], "dtype": "float16"}}
    with pytest.raises(ConfigError, match=r"model\.inputs\.image: there is no such key"):
        attempt("model=resnet50", "model.inputs.image.shape=[batch,3,64,64]")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[override /target: onnx, /also: [benchmark]]", "[/also: [benchmark], override /target: onnx]"),
        pytest.param(
            "[override /target: onnx, /stage@stages.x: set_eval, _self_]",
            "[/stage@stages.x: set_eval, _self_, override /target: onnx]",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_defaults_list_in_the_wrong_order_is_told_in_the_right_one(tmp_path, monkeypatch, written, meant):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "conf" / "experiment" / "mine.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(f"# @package _global_\ndefaults: {written}\n")
    with pytest.raises(ConfigError) as caught:
        compose.compose(["experiment=mine"])
    assert caught.value.problems[0].command == f"defaults: {meant} in experiment/mine.yaml"
    recipe.write_text(f"# @package _global_\ndefaults: {meant}\n")
    assert compose.compose(["experiment=mine"]).choices["target"] == "onnx"


def test_a_model_of_hydras_is_told_where_its_parts_stand(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("_target_: my_pkg.Net\nwidth: 8\n")
    with pytest.raises(ConfigError, match="a model's class stands under factory"):
        compose.compose(["model=mine"])


@pytest.mark.parametrize(
    ("typed", "says"), [("--version", "drydock "), ("--help", "Choose first"), ("-h", "Choose first")]
)
def test_what_is_asked_is_answered_without_a_composition(typed, says):
    assert says in str(help.answer([typed]))


def test_a_line_of_the_console_script_has_its_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/torch-drydock", "target=onx", "--json"])
    monkeypatch.setattr(again, "of_script", ["doctor"])
    line = again.with_change(["target=onx"], {"target=onx": ["target=onnx"]})
    assert as_typed(line) == "torch-drydock doctor target=onnx --json"
