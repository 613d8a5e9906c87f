"""data/sources.py: lines of text, each as its tokenizer's ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_rows import LENGTHS, PICTURE, WORDS, identity, opened

from pipeline.errors import ConfigError, StageError
from stages.data import sources
from stages.interface.interface import Dim, Input, Interface


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Six words, each with its place as its number."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "the", "cat", "sat", "down"])}
    word_level = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=word_level, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
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
    row_ids = row.inputs["input_ids"].tolist()
    assert row_ids[words:] == [0] * (len(row_ids) - words)
    return row_ids[:words]


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
    rows = sources.build(text("the cat sat down\nthe cat"), None).open(interface, 0)
    assert rows.caution == "1 of 2 texts are cut at 3 tokens: model.dims.sequence.max"
    assert rows[0].inputs["input_ids"].tolist() == [2, 3, 4]
    assert sources.build(text("the cat", "short.txt"), None).open(interface, 0).caution == ""


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
    with pytest.raises(ConfigError, match=r"text is for inputs of two dimensions.*image \['batch', 3, 8, 8\]"):
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


def test_every_file_of_a_tokenizer_but_a_models_weights_is_part_of_what_it_is(text, tmp_path, tokenizer):
    before = identity(text("cat"), tmp_path)
    (Path(tokenizer) / "model.safetensors").write_bytes(b"1")
    assert identity(text("cat"), tmp_path) == before
    (Path(tokenizer) / "source.spm").write_bytes(b"1")
    assert identity(text("cat"), tmp_path) != before
