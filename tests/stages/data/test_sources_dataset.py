"""data/sources.py: a dataset of the user's own, by the path of its class."""

from __future__ import annotations

from collections import UserDict

import numpy as np
import pytest
import torch
from harness import world
from sample_rows import PAIR, identity, opened

from pipeline.errors import ConfigError, StageError
from stages.data import datasets

ITEMS = {
    "tuple": [(np.array([1.0, 2.0]), 7)],
    "list": [[[1, 2], 7]],
    "tensors": [(torch.tensor([1.0, 2.0]), torch.tensor(7))],
    "labels": [{"x": [1.0, 2.0], "labels": 7, "weight": 1.0}],
    "label": [UserDict(label=np.int64(7), x=(1.0, 2.0))],
    "alone": [np.array([1.0, 2.0])],
    "single": [([1.0, 2.0],)],
    "none": [([1.0, 2.0], None)],
    "two": [([1.0, 2.0], 3, 7)],
    "three": [([1.0, 2.0], 7, 8)],
    "other": [{"y": [1.0, 2.0]}],
    "shape": [([1.0, 2.0, 3.0], 7)],
    "words": [(["a", "b"], 7)],
    "ragged": [([[1.0], [1.0, 2.0]], 7)],
    "gradient": [(torch.zeros(2, requires_grad=True), 7)],
    "raises": {},
}
ITEMS["raises"][1] = ()


def items(which):
    """What a dataset's path names."""
    return ITEMS[which]


def dataset(name, **kwargs):
    return {"source": "dataset", "path": f"{__name__}.{name}", "kwargs": kwargs}


@pytest.mark.parametrize("which", ["tuple", "list", "tensors", "labels", "label"])
def test_an_item_is_the_inputs_in_order_and_a_label_or_a_mapping(which):
    (row,) = opened(dataset("items", which=which))
    assert (row.inputs["x"].tolist(), row.inputs["x"].dtype, int(row.label)) == ([1.0, 2.0], np.float32, 7)


@pytest.mark.parametrize("which", ["alone", "single", "none"])
def test_an_item_may_go_without_a_label(which):
    (row,) = opened(dataset("items", which=which))
    assert row.inputs["x"].tolist() == [1.0, 2.0]
    assert row.label is None


def test_several_inputs_come_in_the_models_order():
    (row,) = opened(dataset("items", which="two"), PAIR)
    assert (row.inputs["a"].tolist(), int(row.inputs["b"]), int(row.label)) == ([1.0, 2.0], 3, 7)


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("three", r"items\[0\] has 3 parts\n  allowed: x, and perhaps a label after them; or a mapping"),
        ("other", r"items\[0\] has y, and no x\n  allowed: x, and perhaps labels"),
        ("shape", r"items\[0\]: a sample of 'x' is 3\n  allowed: \[2\]"),
        ("words", r"items\[0\]: 'x' is <U1, which float32 cannot hold"),
        ("ragged", r"items\[0\] has what is no array: "),
        ("gradient", r"items\[0\] has what is no array: .*requires grad.*\n  allowed: .* need no gradient"),
        ("raises", r"items\[0\] failed: KeyError: 0 \("),
    ],
)
def test_an_item_that_will_not_do_is_named_with_its_number(which, says):
    with pytest.raises(StageError, match=says):
        opened(dataset("items", which=which))


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("import no_such_thing", ConfigError, r"dataset drydock_d\.Train cannot be imported: ModuleNotFoundError: "),
        ("1 / 0", ConfigError, r"cannot be imported: ZeroDivisionError: .*drydock_d\.py:1\)"),
        ("class Trains: ...", ConfigError, r"drydock_d has no 'Train' to call, did you mean 'Trains'\?"),
        ("Train = 3", ConfigError, r"drydock_d has no 'Train' to call"),
        ("def Train():\n  raise OSError('no disk')", StageError, r"failed with kwargs \{\}: OSError: no disk .*py:2\)"),
        ("def Train(split): ...", StageError, r"Train failed with kwargs \{\}: TypeError: .*'split'"),
        ("def Train():\n  return iter([1])", StageError, r"no len\(\).*\n  allowed: .*has a length and can be indexed"),
    ],
)
def test_a_dataset_that_cannot_be_made_is_told_with_its_line(package, code, error, says):
    (package / "drydock_d.py").write_text(code)
    with pytest.raises(error, match=says):
        opened({"source": "dataset", "path": "drydock_d.Train"})


def test_a_dataset_is_known_by_its_code_and_its_arguments(package, tmp_path):
    (package / "drydock_e.py").write_text("Train = list")
    spec = {"source": "dataset", "path": "drydock_e.Train", "kwargs": {"split": "train", "sizes": [1, 2]}}
    before = identity(spec, tmp_path)
    assert identity(spec, tmp_path) == before
    assert identity({**spec, "kwargs": {"split": "test", "sizes": [1, 2]}}, tmp_path) != before
    assert identity({**spec, "kwargs": {"split": "train", "sizes": [1, 3]}}, tmp_path) != before
    (package / "drydock_e.py").write_text("Train = tuple")
    assert identity(spec, tmp_path) != before


@pytest.mark.parametrize(
    "where", [lambda p: p, lambda p: [p], lambda p: {"train": p}], ids=["plain", "list", "mapping"]
)
@pytest.mark.parametrize("file", ["rows.csv", "folder/rows.csv"], ids=["a file", "a folder"])
def test_an_argument_that_is_a_path_is_known_by_what_is_there(package, tmp_path, where, file):
    (package / "drydock_f.py").write_text("Train = list")

    def identity_of(name, content):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        argument = path.parent if "/" in file else path
        return identity(
            {"source": "dataset", "path": "drydock_f.Train", "kwargs": {"root": where(str(argument))}}, tmp_path
        )

    assert identity_of("here", "1,2") == identity_of("there", "1,2") != identity_of("here", "1,3")


def test_a_name_inside_a_folder_is_part_of_what_is_there(package, tmp_path):
    (package / "drydock_g.py").write_text("Train = list")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train.csv").write_text("1,2")
    spec = {"source": "dataset", "path": "drydock_g.Train", "kwargs": {"root": str(tmp_path / "root")}}
    before = identity(spec, tmp_path)
    (tmp_path / "root" / "train.csv").rename(tmp_path / "root" / "test.csv")
    assert identity(spec, tmp_path) != before


@pytest.mark.parametrize("text", ["", "x" * 300, "~nobody-of-that-name/x"], ids=["empty", "long", "nobody"])
def test_an_argument_that_is_no_path_is_what_it_says(tmp_path, text):
    assert datasets.Dataset("json.loads", {"a": text}).identity(world(tmp_path))["kwargs"] == {"a": text}


def test_a_word_that_happens_to_name_a_folder_stays_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
    identities = [datasets.Dataset("json.loads", {"a": n}).identity(world(tmp_path)) for n in ("train", "val")]
    assert identities[0] != identities[1]


def test_what_a_link_to_a_folder_leads_to_is_part_of_what_a_folder_holds(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "far")

    def identity_of(content):
        (tmp_path / "far" / "a.txt").write_text(content)
        return datasets.Dataset("json.loads", {"root": str(tmp_path / "data")}).identity(world(tmp_path))

    assert identity_of("one") != identity_of("other")
