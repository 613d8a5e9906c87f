"""pipeline/one_job.py: what goes wrong in a job is its exit code and in its run.json."""

from __future__ import annotations

import json

import pytest

from pipeline import one_job
from pipeline.errors import BackendMissing, CheckFailed, ConfigError
from pipeline.one_job import Launch


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("opset is 3"), 2),
        (BackendMissing("no openvino"), 4),
        (CheckFailed("logits differ"), 5),
        (SystemExit("a model's own code"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_an_error_is_an_exit_code_and_a_failed_run(tmp_path, error, code):
    def compose():
        raise error

    assert one_job.run(Launch(tmp_path, ["opset=3"], {"model": "resnet50"}, compose)) == code
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["status"], record["exit_code"]) == ("failed", code)
    assert record["overrides"] == ["opset=3"]


def test_an_interruption_is_written_down_and_goes_on(tmp_path):
    def compose():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one_job.run(Launch(tmp_path, [], {}, compose))
    assert json.loads((tmp_path / "run.json").read_text())["exit_code"] == 130
