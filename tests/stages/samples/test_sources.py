"""samples/sources.py: where samples come from, what identifies them, and what is said of those that are of no use."""

from __future__ import annotations

import io
from collections import UserDict
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import world
from PIL import Image

from pipeline.errors import ConfigError, StageError
from pipeline.machine.world import code_identity
from pipeline.store import key
from stages.interface import images
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input, Interface
from stages.samples import sources
from stages.samples.draw_samples import DrawSamples
from stages.samples.record_answers import RecordAnswers

PLAIN = Preprocessing(8, [0.0], [1.0])
PICTURE = Interface({"image": Input(["batch", 3, 8, 8])}, {"batch": Dim(1, 2, 4)})
VECTOR = Interface({"x": Input(["batch", 2])}, {"batch": Dim(1, 2, 4)})
PAIR = Interface({"a": Input(["batch", 2]), "b": Input(["batch"], "int32")}, {"batch": Dim(1, 2, 4)})
LENGTHS = {"batch": Dim(1, 2, 4), "length": Dim(4, 4, 12, 4)}
WORDS = Interface({n: Input(["batch", "length"], "int64") for n in ("input_ids", "attention_mask")}, LENGTHS)


def opened(spec, interface=VECTOR, *, how=None, seed=0):
    rows = sources.of(spec, how).open(interface, seed)
    return [rows[i] for i in range(len(rows))]


def identity(spec, folder, *, how=None):
    code_identity.cache_clear()
    return key.canonical(DrawSamples(spec, 1, how, 0).identity(world(folder)))


def photograph(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 10, 3), shade, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("spec", "what", "allowed"),
    [
        (None, "samples is None", "{source: images, path: FOLDER}"),
        ("random", "samples is random", "{source: images, path: FOLDER}"),
        ({}, "samples.source is not set", "images, arrays, text, dataset, random"),
        ({"source": "rnadom"}, "samples.source is rnadom, did you mean 'random'?", "dataset, random"),
        ({"source": "imags"}, "did you mean 'images'?", "images, arrays"),
        (
            {"source": "images", "paht": "y"},
            "samples has paht, did you mean 'path'?",
            "source, path, tokenizer, kwargs",
        ),
        ({"source": "images", "path": ["x"]}, "samples.path is ['x']", "the path of what is there"),
        ({"source": "dataset"}, "samples.path is None", "my_pkg.data.Train"),
        ({"source": "arrays", "path": ""}, "samples.path is ", "the path of what is there"),
        ({"source": "arrays", "path": "x.npy"}, "samples.path is x.npy", "a .npz file"),
        ({"source": "text", "path": "x.txt"}, "samples.tokenizer is None", "save_pretrained"),
        ({"source": "text", "path": "x.txt", "tokenizer": 3}, "samples.tokenizer is 3", "save_pretrained"),
        ({"source": "dataset", "path": "a.B", "kwargs": ["train"]}, "samples.kwargs is ['train']", "{split: train}"),
    ],
)
def test_each_problem_has_its_place_and_what_is_allowed(spec, what, allowed):
    (problem,) = DrawSamples(spec, 1, PLAIN, 0).problems()
    assert what in problem.what
    assert allowed in problem.allowed


@pytest.mark.parametrize(
    "spec",
    [
        {"source": "random"},
        {"source": "random", "path": "of another", "kwargs": {"split": "train"}},
        {"source": "images", "path": "x"},
        {"source": "arrays", "path": "x.npz"},
        {"source": "text", "path": "x", "tokenizer": "y"},
        {"source": "dataset", "path": "a.B", "kwargs": None},
        {"source": "dataset", "path": "a.B", "kwargs": {"split": "train"}},
    ],
    ids=str,
)
def test_a_source_that_is_well_said_has_no_problem(spec):
    assert DrawSamples(spec, 1, PLAIN, 0).problems() == []


def test_images_need_the_models_preprocessing():
    (problem,) = DrawSamples({"source": "images", "path": "x"}, 1, None, 0).problems()
    assert problem.command.startswith("'model.preprocessing={resize:")


def test_random_draws_have_no_labels_and_are_not_offered_where_these_are_wanted():
    (problem,) = RecordAnswers({"source": "random"}, 1, None, 0).problems()
    assert "nobody knows the labels" in problem.what
    assert "random" not in problem.allowed
    assert problem.command == "model.evaluation.source=images model.evaluation.path=FOLDER"


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("3", "10"), {3: 10, 10: 20}),
        (("bee", "ant"), {1: 10, 0: 20}),
        (("2", "b"), {0: 10, 1: 20}),
        (("1", "01"), {1: 10, 0: 20}),
    ],
    ids=["whole numbers", "names", "both", "the same number"],
)
def test_a_class_is_its_folders_number_or_the_place_of_its_name(tmp_path, names, labels):
    for name, shade in zip(names, (10, 20), strict=True):
        photograph(tmp_path / name / "a.png", shade)
    rows = opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=PLAIN)
    assert {row.label: round(row.inputs["image"].max() * 255) for row in rows} == labels


def test_photographs_without_classes_have_no_labels(tmp_path):
    photograph(tmp_path / "a.png", 10)
    (tmp_path / "notes.txt").write_text("not a photograph")
    (row,) = opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=PLAIN)
    assert row.label is None


def test_a_photograph_is_prepared_as_the_model_wants_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    how = Preprocessing(8, [0.1, 0.2, 0.3], [1.0, 2.0, 4.0], color="BGR")
    (row,) = opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=how)
    np.testing.assert_array_equal(row.inputs["image"], images.prepared(pixels, 8, 8, how))


def classes(folder):
    for name, shade in (("cat/1.png", 10), ("cat/2.png", 20), ("dog/1.png", 30)):
        photograph(folder / name, shade)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda f: (f / "cat/1.png").rename(f / "cat/9.png"), True),
        (lambda f: (f / "dog").rename(f / "eel"), True),
        (lambda f: (f / "dog/notes.txt").write_text("not a photograph"), True),
        (lambda f: photograph(f / "cat/1.png", 11), False),
        (lambda f: photograph(f / "cat/3.png", 10), False),
        (lambda f: (f / "cat/1.png").unlink(), False),
        (lambda f: (f / "cat/1.png").rename(f / "dog/9.png"), False),
        (lambda f: (f / "dog").rename(f / "ant"), False),
    ],
    ids=["file name", "class name", "no photograph", "pixels", "one more", "one less", "label", "class numbers"],
)
def test_photographs_are_known_by_what_they_hold_and_their_labels(tmp_path, change, same):
    spec = {"source": "images", "path": str(tmp_path / "photos")}
    classes(tmp_path / "photos")
    before = identity(spec, tmp_path, how=PLAIN)
    change(tmp_path / "photos")
    assert (identity(spec, tmp_path, how=PLAIN) == before) is same


def test_the_name_of_their_folder_is_nothing_and_the_preprocessing_is_something(tmp_path):
    classes(tmp_path / "a")
    classes(tmp_path / "b")
    here, there = {"source": "images", "path": str(tmp_path / "a")}, {"source": "images", "path": str(tmp_path / "b")}
    assert identity(here, tmp_path, how=PLAIN) == identity(there, tmp_path, how=PLAIN)
    assert identity(here, tmp_path, how=PLAIN) != identity(here, tmp_path, how=Preprocessing(9, [0.0], [1.0]))


def test_photographs_come_in_an_order_that_their_names_do_not_decide(tmp_path):
    for i, name in enumerate("abcdef"):
        photograph(tmp_path / "one" / f"{name}.png", 10 * i)
        photograph(tmp_path / "other" / f"{'fedcba'[i]}.png", 10 * i)
    one, other = (opened({"source": "images", "path": str(tmp_path / n)}, PICTURE, how=PLAIN) for n in ("one", "other"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.inputs["image"], b.inputs["image"])


def beside(folder):
    classes(folder)
    photograph(folder / "lost.jpg", 3)


def empty_class(folder):
    classes(folder)
    (folder / "eel").mkdir()
    (folder / "eel" / "eel.gif").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: None, "there is no folder .*photos\n  try:     the path of an existing folder"),
        (lambda f: f.mkdir(), r"photos has no photographs\n  allowed: files that end in \.jpg, "),
        (
            beside,
            "1 photographs beside its folders cat, dog\n.*\n  try:     move lost.jpg into the folder of its class",
        ),
        (empty_class, r"photos has no photograph of class eel\n  allowed: files that end in \.jpg, "),
    ],
    ids=["missing", "empty", "mislabelled", "empty class"],
)
def test_a_folder_that_will_not_do_is_told_before_any_work(tmp_path, make, says):
    make(tmp_path / "photos")
    with pytest.raises(ConfigError, match=says):
        identity({"source": "images", "path": str(tmp_path / "photos")}, tmp_path, how=PLAIN)


def file_of(form):
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(held, form)
    return held.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jpg", file_of("JPEG")[:1000]),
        ("a.jpg", b"no photograph at all"),
        ("a.png", file_of("PNG")[:100_000] + b"\0" * 1000),
        ("a.ppm", b"P6\n10 1x\n255\n"),
    ],
    ids=["cut short", "text", "a broken chunk", "a broken header"],
)
def test_a_photograph_that_cannot_be_read_is_named_with_its_folder(tmp_path, name, content):
    photograph(tmp_path / "cat" / "good.png", 3)
    (tmp_path / "cat" / name).write_bytes(content)
    with pytest.raises(StageError, match=rf"cat/{name} cannot be read as an image: .*\n  try:"):
        opened({"source": "images", "path": str(tmp_path)}, PICTURE, how=PLAIN)


@pytest.mark.parametrize("interface", [VECTOR, PAIR, Interface({**PICTURE.inputs, **VECTOR.inputs}, VECTOR.dims)])
def test_images_stand_for_a_single_input_of_four_dimensions(tmp_path, interface):
    photograph(tmp_path / "a.png", 10)
    with pytest.raises(ConfigError, match=r"images stand for one input of four.*\n  allowed: source: arrays"):
        opened({"source": "images", "path": str(tmp_path)}, interface, how=PLAIN)


def test_photographs_do_not_fit_a_model_of_one_channel(tmp_path):
    photograph(tmp_path / "a.png", 10)
    grey = Interface({"image": Input(["batch", 1, 8, 8])}, PICTURE.dims)
    with pytest.raises(StageError, match=r"a\.png: a sample of 'image' is 3x8x8\n  allowed: \[1, 8, 8\]"):
        opened({"source": "images", "path": str(tmp_path)}, grey, how=PLAIN)


def arrays(folder, **held):
    np.savez(folder / "held.npz", **held)
    return {"source": "arrays", "path": str(folder / "held.npz")}


def test_a_row_of_every_array_is_a_sample(tmp_path):
    a, b, labels = np.arange(6.0).reshape(3, 2), np.array([7, 8, 9]), np.array([2, 0, 1])
    rows = opened(arrays(tmp_path, a=a, b=b, labels=labels, other=np.zeros(9)), PAIR)
    assert [(r.inputs["a"].tolist(), int(r.inputs["b"]), r.label) for r in rows] == [
        ([0, 1], 7, 2),
        ([2, 3], 8, 0),
        ([4, 5], 9, 1),
    ]
    assert {n: (v.shape, v.dtype) for n, v in rows[0].inputs.items()} == {"a": ((2,), "float32"), "b": ((), "int32")}


def test_arrays_without_labels_are_samples_too(tmp_path):
    assert opened(arrays(tmp_path, x=np.zeros((1, 2))))[0].label is None


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"y": np.zeros((3, 2))}, r"held\.npz holds y, and no x\n  allowed: x\n  try:     save it as x=…"),
        ({"x": np.zeros((3, 4))}, r"a sample of 'x' is 4\n  allowed: \[2\]"),
        ({"x": np.zeros((3, 2, 1))}, r"a sample of 'x' is 2x1\n  allowed: \[2\]"),
        ({"x": np.zeros((3, 2)), "labels": np.zeros(4)}, r"held\.npz holds 3 x, 4 labels\n  allowed: as many of each"),
        ({"x": np.float32(3)}, r"held\.npz holds one number as x\n  allowed: \[samples, …\]"),
        ({"x": np.zeros((3, 2)), "labels": np.int64(1)}, r"held\.npz holds one number as labels"),
        ({"x": np.zeros((3, 2), complex)}, r"'x' is complex128, which float32 cannot hold\n  allowed: numbers"),
        ({"x": np.array([None, {}])}, r"held\.npz cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_will_not_do_are_named(tmp_path, held, says):
    with pytest.raises(StageError, match=says):
        opened(arrays(tmp_path, **held))


@pytest.mark.parametrize("value", [0.5, 2**31], ids=["fraction", "too large"])
def test_numbers_are_not_bent_to_fit(tmp_path, value):
    with pytest.raises(StageError, match=r"held\.npz: 'b' is .*64, which int32 cannot hold"):
        opened(arrays(tmp_path, a=np.zeros((1, 2)), b=np.full(1, value)), PAIR)


def test_a_file_that_is_no_npz_is_named(tmp_path):
    (tmp_path / "held.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(StageError, match=r"arrays: held\.npz cannot be read"):
        opened({"source": "arrays", "path": str(tmp_path / "held.npz")})


@pytest.mark.parametrize(("size", "fits"), [(1, False), (4, True), (6, False), (12, True), (16, False)])
def test_a_dynamic_dimension_is_held_to_its_range_and_its_multiple(tmp_path, size, fits):
    held = arrays(tmp_path, ids=np.zeros((1, size), np.int64))
    interface = Interface({"ids": Input(["batch", "length"], "int64")}, LENGTHS)
    if fits:
        opened(held, interface)
    else:
        with pytest.raises(StageError, match=rf"a sample of 'ids' is {size}\n"):
            opened(held, interface)


def test_an_npz_is_known_by_what_it_holds(tmp_path):
    before = identity(spec := arrays(tmp_path, x=np.zeros((3, 2))), tmp_path)
    moved = (tmp_path / "held.npz").rename(tmp_path / "moved.npz")
    assert identity({"source": "arrays", "path": str(moved)}, tmp_path) == before
    changed = np.zeros((3, 2))
    changed[2, 1] = 1e-3
    arrays(tmp_path, x=changed)
    assert identity(spec, tmp_path) != before


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Six words, each with its place as its number."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "the", "cat", "sat", "down"])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder


@pytest.fixture
def text(tmp_path, tokenizer):
    """Writes a text file, and says where it is as a source."""

    def written(content, name="lines.txt"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return {"source": "text", "path": str(tmp_path / name), "tokenizer": str(tokenizer)}

    return written


def ids(row, words):
    """The first of a row's ids, all the others being padding."""
    told = row.inputs["input_ids"].tolist()
    assert told[words:] == [0] * (len(told) - words)
    return told[:words]


def test_each_line_is_a_sample_padded_to_what_the_model_takes_with_its_mask(text):
    short, long = opened(text("the cat\nthe cat sat down\n"), WORDS)
    assert (ids(short, 2), ids(long, 4)) == ([2, 3], [2, 3, 4, 5])
    assert len(short.inputs["input_ids"]) == LENGTHS["length"].max
    assert short.inputs["attention_mask"].tolist() == [1, 1] + [0] * (LENGTHS["length"].max - 2)
    assert (short.label, long.label) == (None, None)


def test_a_line_is_the_same_sample_whatever_file_it_is_in(text):
    alone, beside = opened(text("the cat"), WORDS), opened(text("the cat\nthe cat sat down", "other.txt"), WORDS)
    np.testing.assert_array_equal(alone[0].inputs["input_ids"], beside[0].inputs["input_ids"])


def test_texts_that_are_cut_are_told(text):
    interface = Interface(WORDS.inputs, {**LENGTHS, "length": Dim(2, 2, 3)})
    rows = sources.of(text("the cat sat down\nthe cat"), None).open(interface, 0)
    assert rows.caution == "1 of 2 texts are cut at 3 tokens: model.dims.sequence.max"
    assert rows[0].inputs["input_ids"].tolist() == [2, 3, 4]
    assert sources.of(text("the cat", "short.txt"), None).open(interface, 0).caution == ""


def test_a_fixed_length_is_kept(text):
    fixed = Interface({"input_ids": Input(["batch", 3], "int64")}, {"batch": Dim(1, 2, 4)})
    rows = opened(text("the cat sat down\ncat"), fixed)
    assert [r.inputs["input_ids"].tolist() for r in rows] == [[2, 3, 4], [3, 0, 0]]


def test_a_tsv_has_a_label_before_each_text(text):
    rows = opened(text("1\tthe cat\n\n0\tsat\tdown\n", "lines.tsv"), WORDS)
    assert [(r.label, ids(r, 2)) for r in rows] == [(1, [2, 3]), (0, [4, 5])]


def test_a_line_ends_where_an_editor_ends_it_in_utf8(text):
    rows = opened(text("\ufeff1\tcat\u2028sat\r\n0\tdéjà\r\n", "lines.tsv"), WORDS)
    assert [(r.label, ids(r, 2)) for r in rows] == [(1, [3, 4]), (0, [1, 0])]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "a.tsv",
            "1\tcat\n\nthe cat sat\n",
            r"line 3 of a\.tsv begins with 'the cat sat'\n  allowed: a whole number",
        ),
        ("a.tsv", "cat\tthe cat\n", r"line 1 of a\.tsv begins with 'cat'"),
        ("a.tsv", "-1\tthe cat\n", r"line 1 of a\.tsv begins with '-1'"),
        ("a.tsv", "7\n", r"line 1 of a\.tsv begins with '7'"),
        ("a.txt", "\n \n", r"a\.txt has no lines\n  allowed: a sample a line"),
        ("a.txt", b"caf\xe9\n", r"a\.txt is no UTF-8"),
    ],
    ids=["no label", "a word", "below 0", "no text", "no lines", "latin-1"],
)
def test_a_text_that_will_not_do_is_named_with_its_line(text, name, content, says):
    with pytest.raises(StageError, match=says):
        opened(text(content, name), WORDS)


def test_an_input_that_the_tokenizer_does_not_give_is_named(text):
    interface = Interface({**WORDS.inputs, "pixel_values": WORDS.inputs["input_ids"]}, LENGTHS)
    with pytest.raises(StageError, match=r"gives input_ids.*, and no pixel_values\n  allowed: what the model takes"):
        opened(text("cat"), interface)


def test_text_does_not_stand_for_photographs(text):
    with pytest.raises(ConfigError, match=r"text stands for inputs of two dimensions.*image \['batch', 3, 8, 8\]"):
        opened(text("cat"), PICTURE)


def test_a_folder_that_holds_no_tokenizer_is_named(text, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StageError, match="tokenizer: empty cannot be used: "):
        opened({**text("cat"), "tokenizer": str(tmp_path / "empty")}, WORDS)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"source": "text", "path": "gone.txt"}, r"gone\.txt cannot be read: No such file"),
        ({"tokenizer": "gone"}, "tokenizer: there is no folder gone\n  try:     a folder as save_pretrained writes it"),
        ({"source": "arrays", "path": "gone.npz"}, r"gone\.npz cannot be read: No such file"),
        ({"source": "dataset", "path": "no_such_package.Train"}, "there is no module 'no_such_package'"),
    ],
    ids=["text", "tokenizer", "arrays", "dataset"],
)
def test_what_is_not_there_is_told_before_any_work(text, tmp_path, monkeypatch, spec, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        identity({**text("cat"), **spec}, tmp_path)


def test_a_text_is_known_by_what_it_and_its_tokenizer_hold(text, tmp_path, tokenizer):
    before = identity(text("1\tcat"), tmp_path)
    assert identity(text("1\tcat", "other.txt"), tmp_path) == before
    assert identity(text("1\tsat", "changed.txt"), tmp_path) != before
    assert identity(text("1\tcat", "labelled.tsv"), tmp_path) != before
    for name, size in (("copy", "5"), ("edited", "6")):
        (tmp_path / name).mkdir()
        for file in tokenizer.iterdir():
            (tmp_path / name / file.name).write_text(file.read_text().replace('"down": 5', f'"down": {size}'))
    copy, edited = ({**text("1\tcat"), "tokenizer": str(tmp_path / n)} for n in ("copy", "edited"))
    assert before == identity(copy, tmp_path) != identity(edited, tmp_path)


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

    def known(name, content):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        given = path.parent if "/" in file else path
        return identity(
            {"source": "dataset", "path": "drydock_f.Train", "kwargs": {"root": where(str(given))}}, tmp_path
        )

    assert known("here", "1,2") == known("there", "1,2") != known("here", "1,3")


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
    assert sources.Dataset("json.loads", {"a": text}).identity(world(tmp_path))["kwargs"] == {"a": text}


def test_random_rows_follow_the_inputs_fills():
    inputs = {
        "ids": Input(["batch", "length"], "int64", {"integers": [5, 9]}),
        "mask": Input(["batch", "length"], "int64", "mask"),
        "scale": Input(["batch"], "float32", "ones"),
    }
    rows = opened({"source": "random"}, Interface(inputs, LENGTHS))
    assert len(rows) == 32
    assert {v for r in rows for v in r.inputs["ids"].tolist()} == {5, 6, 7, 8}
    assert {int(r.inputs["mask"].sum()) for r in rows} >= {2, 4}
    assert all(r.inputs["scale"].shape == () and r.label is None for r in rows)


def test_another_seed_is_other_random_rows_and_each_is_another():
    drawn = {r.inputs["x"].tobytes() for seed in (0, 1) for r in opened({"source": "random"}, seed=seed)}
    assert len(drawn) == 64
    np.testing.assert_array_equal(
        opened({"source": "random"})[3].inputs["x"], opened({"source": "random"})[3].inputs["x"]
    )


@pytest.mark.parametrize(
    ("spec", "libraries"),
    [
        ({"source": "random"}, ()),
        (None, ()),
        ({"source": "images", "path": "x"}, ("PIL",)),
        ({"source": "arrays", "path": "x.npz"}, ()),
        ({"source": "text", "path": "x", "tokenizer": "y"}, ("transformers",)),
        ({"source": "dataset", "path": "a.B"}, ("torch",)),
    ],
    ids=str,
)
def test_a_source_says_which_libraries_it_takes(spec, libraries):
    assert DrawSamples(spec, 1, PLAIN, 0).libraries() == {*libraries}


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, odd):
    np.savez(tmp_path / "held.npz", x=np.full((3, 2), odd, np.float32))
    with pytest.raises(StageError, match=r"held\.npz: 'x' holds NaN or infinities"):
        opened({"source": "arrays", "path": str(tmp_path / "held.npz")})[0]


def test_photographs_that_would_be_passed_over_are_refused(tmp_path):
    photograph(tmp_path / "cat" / "a.png", 10)
    photograph(tmp_path / "cat" / "more" / "b.png", 20)
    with pytest.raises(ConfigError, match="1 folders in those of its classes, such as more"):
        identity({"source": "images", "path": str(tmp_path)}, tmp_path, how=PLAIN)


def test_a_word_that_happens_to_name_a_folder_stays_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
    known = [sources.Dataset("json.loads", {"a": n}).identity(world(tmp_path)) for n in ("train", "val")]
    assert known[0] != known[1]


def test_what_a_link_to_a_folder_leads_to_is_part_of_what_a_folder_holds(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "far")

    def known(content):
        (tmp_path / "far" / "a.txt").write_text(content)
        return sources.Dataset("json.loads", {"root": str(tmp_path / "data")}).identity(world(tmp_path))

    assert known("one") != known("other")


def test_every_file_of_a_tokenizer_but_a_models_weights_is_part_of_what_it_is(text, tmp_path, tokenizer):
    before = identity(text("cat"), tmp_path)
    (Path(tokenizer) / "model.safetensors").write_bytes(b"1")
    assert identity(text("cat"), tmp_path) == before
    (Path(tokenizer) / "source.spm").write_bytes(b"1")
    assert identity(text("cat"), tmp_path) != before


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "held.npz", x=np.zeros((3, 2)))
    assert len(opened({"source": "arrays", "path": "~/held.npz"})) == 3
