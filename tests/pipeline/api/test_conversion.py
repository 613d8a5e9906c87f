"""From Python: `convert` and `sweep` give what the command line gives, and leave the program as it was."""

import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import onnx
import pytest
import torch
from command_line import Shop
from nets import TinyConv

import pipeline
from pipeline import CheckFailed, ConfigError, convert, sweep

ROOT = Path(__file__).parents[3]

IMAGE = torch.rand(2, 3, 16, 16)


class Doubled(TinyConv):
    """Any batch in PyTorch; torch.export finds that only one size is certain."""

    def forward(self, x):
        return super().forward(x) if x.shape[0] != 2 else 2 * super().forward(x)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("python")


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def model():
    torch.manual_seed(0)
    return TinyConv()


def converted(place, module=None, **more):
    defaults = {"example_inputs": IMAGE, "dynamic": {0: "batch"}, "target": "onnx", "store": place / "store"}
    return convert(module or model(), **{"progress": False, **defaults, **more})


@pytest.fixture(scope="module")
def conversion(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return converted(place)


def test_a_module_in_memory_is_converted_and_checked(conversion):
    assert conversion.kind == "onnx"
    assert conversion.path.is_file()
    assert [check.stage for check in conversion.checks][-1] == "check_simplify"
    assert all(check.worst < 1e-5 and check.questions > 10 for check in conversion.checks)
    assert json.loads(conversion.run_file.read_text())["status"] == "ok"
    (answer,) = conversion.load()(IMAGE).values()
    torch.testing.assert_close(torch.from_numpy(answer), model().eval()(IMAGE).detach(), rtol=1e-4, atol=1e-6)
    assert "artifact" in str(conversion)
    assert conversion.path.name in conversion._repr_html_()


def test_it_is_called_in_order_or_by_name_and_with_nothing_else(conversion):
    run = conversion.load()
    assert run.names == ["x"]
    assert run(x=IMAGE.numpy()).keys() == run(IMAGE).keys()
    for args, by_name in (((), {}), ((IMAGE, IMAGE), {}), ((), {"picture": IMAGE})):
        with pytest.raises(TypeError, match="it takes x"):
            run(*args, **by_name)


def test_the_module_and_the_program_are_left_as_they_were(conversion, here):
    module, handlers = model().train(), logging.getLogger("pipeline").handlers[:]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert converted(here, module).digest == conversion.digest
    assert module.training
    assert all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert logging.getLogger("pipeline").handlers == handlers


def test_another_weight_is_another_artifact_and_the_same_is_a_hit(conversion, here):
    assert {o.how for o in converted(here).stages if o.digest} <= {"hit", "delivered"}
    other = model()
    with torch.no_grad():
        other.head.bias += 1
    assert converted(here, other).digest != conversion.digest


@pytest.mark.slow  # test_conf compares the graphs
def test_the_command_line_makes_the_same_graph_and_by_name_the_same_bytes(conversion, place, tmp_path, monkeypatch):
    torch.save(model().state_dict(), tmp_path / "net.pth")
    torch.save(IMAGE, tmp_path / "image.pt")
    (tmp_path / "nets.py").write_text((ROOT / "tests/nets.py").read_text())
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(
        "name: mine\nfactory: nets.TinyConv\nweights: net.pth\ndims: {batch: {min: 1, opt: 2, max: 8}}\n"
        "inputs: {x: {shape: [batch, 3, 16, 16], fill: {file: image.pt}}}\n"
    )
    shop = Shop(tmp_path)
    shop.store = place / "store"
    done = shop.run("model=mine", "target=onnx")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("record ")]
    record = json.loads(Path(line.split(maxsplit=1)[1]).read_text())
    assert onnx.load(record["artifact"]).graph == onnx.load(conversion.path).graph
    monkeypatch.chdir(tmp_path)
    by_name = convert("mine", target="onnx", store=shop.store, progress=False)
    assert by_name.digest == record["record"]["digest"]
    assert [o.key for o in by_name.stages] == [s["key"] for s in record["stages"]]


def test_it_serves_in_a_thread(conversion, here):
    conversions, modules = [], [model(), model()]  # here: the seed is the process's
    threads = [threading.Thread(target=lambda module=m: conversions.append(converted(here, module))) for m in modules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m.digest for m in conversions] == [conversion.digest] * 2
    assert conversions[0].path != conversions[1].path


@pytest.mark.slow
def test_it_serves_inside_of_a_program_that_hydra_runs(conversion, place, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("lr: 0.1\n")
    torch.save(IMAGE, tmp_path / "image.pt")
    (tmp_path / "train.py").write_text(f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import hydra, torch, nets
from hydra.core.hydra_config import HydraConfig
from pipeline import convert

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    torch.manual_seed(0)
    made = convert(nets.TinyConv(), example_inputs=torch.load("image.pt"), dynamic={{0: "batch"}}, target="onnx",
                   store={str(place / "store")!r}, progress=False)
    print(made.digest, cfg.lr, HydraConfig.get().job.name)

main()
""")
    env = {"PYTHONPATH": f"{ROOT}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "train.py", "lr=0.2"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == [conversion.digest, "0.2", "train"], done.stdout[:2000]


@pytest.mark.parametrize(
    ("choices", "error", "words"),
    [
        ({"target": "onnxx"}, ConfigError, "onnxx"),
        ({"precision": "fp99"}, ConfigError, "precision=fp99"),
        ({"example_inputs": None}, ConfigError, "nothing says what its forward takes"),
        ({"plan": True}, ConfigError, "plan is a choice of the command line"),
        ({"stages.check_export.tolerance.max_rel": 0.0}, CheckFailed, "does not agree"),
        ({"module": Doubled(), "capture": "export"}, CheckFailed, "model.dims.batch cannot be dynamic"),
        ({"module": 7}, ConfigError, "the model is int"),
    ],
    ids=["target", "precision", "examples", "plan", "check", "dimension", "model"],
)
def test_what_fails_is_raised_with_what_to_do(here, choices, error, words):
    with pytest.raises(error, match=words) as caught:
        converted(here, choices.get("module"), **{k: v for k, v in choices.items() if k != "module"})
    assert caught.value.problems


def test_a_sweep_is_a_table_in_which_a_failure_stands_alone(here, conversion):
    choices = {"example_inputs": IMAGE, "dynamic": {0: "batch"}, "target": "onnx", "store": here / "store"}
    rows = sweep(model(), precision=["fp32", "fp99"], progress=False, **choices)
    assert [row.cells["status"] for row in rows] == ["ok", "failed"]
    assert rows.rows[0].result.digest == conversion.digest
    assert re.search(r"fp99 +failed +precision=fp99", str(rows))
    assert rows._repr_html_().count("<tr>") == 3
    with pytest.raises(ConfigError, match="no choice of this sweep"):
        sweep(model(), **choices)


def test_to_import_it_imports_nothing_else():
    look = "import sys, pipeline; print(sorted(m for m in sys.modules if m.partition('.')[0] in sys.argv[1:]))"
    heavy = ["torch", "hydra", "omegaconf", "numpy", "onnx", "openvino", "coremltools", "rich"]
    done = subprocess.run([sys.executable, "-c", look, *heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "convert" in dir(pipeline)
    with pytest.raises(AttributeError):
        _ = pipeline.nothing


@pytest.mark.slow
def test_the_page_on_python_runs_as_it_stands(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(blocks))
    env = {
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "DRYDOCK_STORE": str(tmp_path / "store"),
    }
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_notebook_runs_in_a_kernel(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("DRYDOCK_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(ROOT / "docs" / "python.ipynb", as_version=4)
    ran = nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [out for cell in ran.cells if cell.cell_type == "code" for out in cell.outputs if "data" in out]
    assert "worst relative error" in shown[0]["data"]["text/html"]
    assert shown[-1]["data"]["text/html"].count("<tr>") == 3
