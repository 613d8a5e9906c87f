"""openvino/lay_out_openvino.py: an IR and its tokenizer as IRs, as openvino_genai looks for them."""

import architectures
import pytest
from harness import backend, contents, run_stage, shipped

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.generation.format import MODEL_FOLDER

IR = {"openvino_model.xml", "openvino_model.bin"}


@pytest.fixture(scope="module")
def stateful(decoder_ir, tmp_path_factory):
    return run_stage(shipped("make_stateful", cache=None), decoder_ir, tmp_path_factory.mktemp("stateful") / "made")


def test_without_a_tokenizer_it_is_the_ir_under_the_names_that_the_runtime_has_for_it(stateful, tmp_path):
    laid_out = run_stage(shipped("lay_out_openvino"), stateful, tmp_path / "made")
    assert contents(laid_out.folder) == contents(stateful.folder)
    assert (contents(laid_out.folder).keys(), laid_out.notes["says"]) == (IR, "no tokenizer")


@pytest.mark.slow
def test_a_tokenizer_becomes_irs_that_make_the_same_tokens(stateful, tmp_path):
    backend("openvino_tokenizers")
    folder = tmp_path / "files"
    architectures.tokenizer(folder)
    laid_out = run_stage(
        shipped("lay_out_openvino"), {"graph": stateful, "files": Artifact(MODEL_FOLDER, folder)}, tmp_path / "made"
    )
    parts = {f"openvino_{what}.{end}" for what in ("tokenizer", "detokenizer") for end in ("xml", "bin")}
    assert contents(laid_out.folder).keys() == {*IR, *parts, *contents(folder)}


@pytest.mark.slow
def test_a_tokenizer_that_cannot_be_one_is_told_with_what_goes_without(stateful, tmp_path):
    backend("openvino_tokenizers")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(StageError, match=r"cannot convert this tokenizer(.|\n)*stages\.folder\.tokenizer=false"):
        run_stage(
            shipped("lay_out_openvino"), {"graph": stateful, "files": Artifact(MODEL_FOLDER, folder)}, tmp_path / "made"
        )
