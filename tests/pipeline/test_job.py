"""job.py: everything that can be refused is refused before any work; the rest is in test_cli and pipeline/api."""

import pytest

from pipeline import job
from pipeline.config import compose
from pipeline.errors import ConfigError

OVERRIDES = ["model=custom", "model.factory=net.Net", "model.weights=random", "target=onnx"]


def ready(tmp_path, *more):
    return job.ready(compose.compose([*OVERRIDES, f"store={tmp_path}/store", *more]), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("stages.reference.count=0", "stages.reference.count is 0"),
        ("runner.timeout=0", "runner.timeout is 0"),
        ("output=store/out", "in the store"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(tmp_path, overrides, words):
    with pytest.raises(ConfigError, match=words):
        ready(tmp_path, overrides)


def test_output_is_relative_to_the_folder_of_whoever_asks(tmp_path):
    first = ready(tmp_path, "output=here")
    assert first.output == tmp_path / "here"
    assert first.store.root == tmp_path / "store"
    assert not first.output.exists()
