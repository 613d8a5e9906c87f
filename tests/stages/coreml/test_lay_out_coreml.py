"""coreml/lay_out_coreml.py: a package, the files of the model's folder, and a README."""

import architectures
import fixed_decoder
import pytest
from harness import contents, run_stage, shipped

from pipeline.artifact import Artifact
from stages.coreml.format import COREML_STATEFUL
from stages.generation.format import MODEL_FOLDER


@pytest.fixture
def package(tmp_path):
    """A package of which only files and facts are used."""
    data = tmp_path / "package" / "model.mlpackage" / "Data"
    data.mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(b"program")
    dims = [{"name": "sequence", "min": 1, "opt": 3, "max": 8, "multiple": 1}]
    facts = {**fixed_decoder.GENERATION.facts, "interface": {"dims": dims}}
    return Artifact(COREML_STATEFUL, tmp_path / "package", facts=facts)


def test_all_files_are_there_and_how_it_is_called_is_said_with_its_own_numbers(package, tmp_path):
    laid_out = run_stage(shipped("lay_out_coreml"), package, tmp_path / "made")
    assert contents(laid_out.folder).keys() == {"model.mlpackage/Data/model.mlmodel", "README.md"}
    readme = (laid_out.folder / "README.md").read_text()
    states = len(fixed_decoder.NAMES)
    assert f"room for {fixed_decoder.LENGTH} tokens and lies in {states} states in float16" in readme
    assert "int32 [1, 1 to 8]" in readme
    assert "model.predict(inputs, state=state)" in readme
    assert "model.prediction(from: inputs, using: state)" in readme


def test_enumerated_lengths_are_said_one_by_one(package, tmp_path):
    package.facts["enumerated"] = {"input_ids": [[1, 8], [1, 1]]}
    laid_out = run_stage(shipped("lay_out_coreml"), package, tmp_path / "made")
    assert "int32 [1, 1 or 8]" in (laid_out.folder / "README.md").read_text()


@pytest.mark.slow  # transformers writes the tokenizer
def test_the_tokenizer_comes_along(package, tmp_path):
    architectures.tokenizer(tmp_path / "files")
    inputs = {"package": package, "files": Artifact(MODEL_FOLDER, tmp_path / "files")}
    laid_out = run_stage(shipped("lay_out_coreml"), inputs, tmp_path / "made")
    assert {"tokenizer.json", "chat_template.jinja"} <= contents(laid_out.folder).keys()
    assert laid_out.notes["says"].startswith("tokenizer of")
