"""Attack A1 and its like: files of programs that would run code as torch reads them run none, and end in words."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from nets import TinyConv
from pickles import Canary, archived

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.capture import captures, program_file, programs
from stages.capture.format import EXPORTED

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WEIGHTS, CONSTANTS = program_file.CONFIGS


class Scaled(TinyConv):
    """Has a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * self.scale)


@pytest.fixture(scope="module")
def program():
    return torch.export.export(Scaled().eval(), (IMAGES,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})


@pytest.fixture(scope="module")
def written(program, tmp_path_factory):
    """The records of a program's file as torch writes it."""
    path = tmp_path_factory.mktemp("written") / "model.pt2"
    torch.export.save(program, path)
    return records(path)


def records(path):
    reader = torch._C.PyTorchFileReader(str(path))
    return {n: reader.get_record(n) for n in reader.get_all_records() if n != program_file.IDENTITY}


def archive(path: Path, contents) -> Path:
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in contents.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return path


def pickled(canary, how=torch.save):
    buffer = io.BytesIO()
    how((Canary(canary), {}), buffer)
    return buffer.getvalue()


def pickled_tensor(config):
    """A weight or a constant that says of itself that it is pickled, in the file named."""

    def forge(contents, canary):
        content = json.loads(contents[config])
        first = next(iter(content["config"].values()))
        first |= {"use_pickle": True}
        file = f"{config.rpartition('/')[0]}/{first['path_name']}"
        return contents | {config: json.dumps(content).encode(), file: pickled(canary)}

    return forge


def opaque(contents, canary):
    content = json.loads(contents[CONSTANTS])
    first = next(iter(content["config"].values()))
    first |= {"path_name": "opaque_obj_0", "use_pickle": True}
    pickled_canary = pickle.dumps(Canary(canary))
    return contents | {CONSTANTS: json.dumps(content).encode(), "data/constants/opaque_obj_0": pickled_canary}


def examples(contents, canary):
    return contents | {program_file.EXAMPLES: pickled(canary)}


def as_before(name):
    """The file of an earlier version, which torch still looks for first."""
    return lambda contents, canary: contents | {name: pickled(canary)}


def in_json(act):
    def forge(contents, canary):
        content = json.loads(contents[program_file.PROGRAM])
        act(content, f"__import__('os').system('touch {canary}')")
        return contents | {program_file.PROGRAM: json.dumps(content).encode()}

    return forge


def first(value, key):
    """The first mapping in a program that has a key."""
    if isinstance(value, dict):
        if key in value:
            return value
        value = list(value.values())
    items = (first(item, key) for item in value) if isinstance(value, list) else iter(())
    return next((f for f in items if f), None)


def size(content, code):
    first(content, "expr_str")["expr_str"] = f"Integer({code})"


def guard(content, code):
    content["guards_code"] = [f"{code} == 0"]


def node_name(content, code):
    graph = content["graph_module"]["graph"]
    text = json.dumps(content)
    old = graph["nodes"][0]["outputs"][0]
    name = next(iter(old.values())).get("name") or next(iter(old.values()))["as_name"]
    content |= json.loads(text.replace(json.dumps(name), json.dumps(f"x[{code}]")))


def import_of_a_module(content, code):
    """A container's key of an enumeration, whose module is imported; here a module that runs the code."""
    folder = Path(code.partition("touch ")[2].partition("'")[0]).parent
    (folder / "an_enum_of_theirs.py").write_text(code)
    spec = first(content, "in_spec")
    key = {"__enum__": True, "fqn": "an_enum_of_theirs:X", "name": "x"}
    spec["in_spec"] = spec["in_spec"].replace('"context": "[]"', f'"context": {json.dumps(json.dumps([key]))}')


def operator(content, code):
    path = code.partition("touch ")[2].partition("'")[0]
    node = first(content, "target")
    node["target"] = "torch.os.system"
    node["inputs"] = [{"name": "", "arg": {"as_string": f"touch {path}"}, "kind": 1}]


ATTACKS = {
    "a pickled weight": pickled_tensor(WEIGHTS),
    "a pickled constant": pickled_tensor(CONSTANTS),
    "an object": opaque,
    "weights as before": as_before("data/weights/model.pt"),
    "constants as before": as_before("data/constants/model.pt"),
    "a size": in_json(size),
    "a guard": in_json(guard),
    "an import": in_json(import_of_a_module),
}
# What torch itself refuses or makes harmless today, or what runs only with the program.
OTHERS = {
    "the name of a node": in_json(node_name),
    "an operator": in_json(operator),
    "a compiled library": lambda contents, canary: contents | {"data/aotinductor/model/x.so": b"\x7fELF"},
    "code beside it": lambda contents, canary: contents | {"extra/../../x.py": b"x"},
    "no JSON": lambda contents, canary: contents | {program_file.PROGRAM: b"{"},
    "deep JSON": lambda contents, canary: contents | {program_file.PROGRAM: b"[" * 100_000},
    "no configuration": lambda contents, canary: {n: c for n, c in contents.items() if n != WEIGHTS},
}


@pytest.mark.parametrize("attack", [*ATTACKS, *OTHERS])
def test_a_forged_file_runs_nothing_and_is_told(written, attack, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = archive(tmp_path / "model.pt2", {**ATTACKS, **OTHERS}[attack](dict(written), tmp_path / "canary"))
    for file in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(StageError, match="is not read, for it is damaged or made to run code") as caught:
            program_file.read(file, "a stored capture")
        assert caught.value.problems[0].command
    with pytest.raises(StageError, match="is not read"):
        programs.load(Artifact(EXPORTED, tmp_path))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("attack", [*ATTACKS, "example inputs"])
def test_the_forged_file_would_have_run_code(written, attack, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    forge = ATTACKS.get(attack, examples)
    path = archive(tmp_path / "model.pt2", forge(dict(written), tmp_path / "canary"))
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.load(path).module()(IMAGES)
    assert (tmp_path / "canary").exists()


def test_example_inputs_are_left_out_when_a_file_is_read(program, written, tmp_path):
    path = archive(tmp_path / "model.pt2", examples(dict(written), tmp_path / "canary"))
    program_read = program_file.read(path, "a stored capture")
    assert torch.equal(program_read.module()(IMAGES), program.module()(IMAGES))
    assert program_read.example_inputs is None
    assert not (tmp_path / "canary").exists()


def test_an_archive_of_before_beside_the_one_that_is_looked_at_runs_nothing(written, tmp_path):
    """torch.export.load falls back to another zip in the file when an operator is not known."""
    path = archive(
        tmp_path / "model.pt2", {n: c.replace(b"aten.conv2d", b"aten.unheard_of") for n, c in written.items()}
    )
    with zipfile.ZipFile(path, "a") as more:
        more.writestr("version", "9.0")
        for name in ("exported_program.json", "state_dict.pt", "constants.pt", "example_inputs.pt"):
            more.writestr(f"serialized_{name}", pickled(tmp_path / "canary"))
    with pytest.raises((StageError, RuntimeError)):
        program_file.read(path, "a stored capture")
    assert not (tmp_path / "canary").exists()


def test_a_file_is_written_without_example_inputs_and_the_program_keeps_them(program, tmp_path):
    program_file.write(program, tmp_path / "model.pt2")
    contents = archived(tmp_path / "model.pt2")
    assert contents[program_file.EXAMPLES] == b""
    plain = {name: content for name, content in contents.items() if not name.startswith("data/weights/weight_")}
    assert not [name for name, content in plain.items() if content.startswith((b"PK", b"\x80"))]
    assert program.example_inputs is not None
    program_read = program_file.read(tmp_path / "model.pt2", "it")
    assert torch.equal(program_read.module()(IMAGES), program.module()(IMAGES))


def test_a_program_that_only_a_pickle_holds_stays_in_memory(program, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.export.pt2_archive._package._should_use_pickle", lambda tensor: True)
    stored = captures.stored(Artifact(EXPORTED, live=program), 2**30, tmp_path)
    assert (stored.folder, list(tmp_path.iterdir())) == (None, [])
    assert "stays in memory" in stored.notes["says"]


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(lambda d: 32 * d, id="multiple"),
        pytest.param(lambda d: 2 * d + 56, id="affine", marks=pytest.mark.slow),
    ],
)
def test_a_program_whose_sizes_are_multiples_is_read_as_it_was_in_memory(size, tmp_path):
    dims = {0: torch.export.Dim("batch", max=8), 3: size(torch.export.Dim("width", min=1, max=4))}
    images = torch.rand(2, 3, 8, 64)
    live = torch.export.export(TinyConv().eval(), (images,), dynamic_shapes={"x": dims})
    program_file.write(live, tmp_path / "model.pt2")
    program_read = program_file.read(tmp_path / "model.pt2", "a program")
    assert program_read.range_constraints == live.range_constraints
    assert str(program_read.run_decompositions({}).graph) == str(live.run_decompositions({}).graph)
    width = next(n.meta["val"] for n in program_read.graph.nodes if n.name == "x").shape[3]
    assert width != 96  # as a decomposition may ask: torch refuses to compare a size whose symbol has no value
    torch.testing.assert_close(program_read.module()(images), live.module()(images))
