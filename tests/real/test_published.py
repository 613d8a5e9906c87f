"""Packages that others converted and published, with other formats of the same model beside: `make test-real`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from stages.coreml.mil import evaluate, read

pytestmark = pytest.mark.real
WHEELS = Path(__file__).parents[2] / ".venv/real"
# How far two computations in float32 are apart, relative to the largest: 4e-6 when this was written.
CLOSE = 1e-5
SAMPLES, RATE = 43844, 22050  # what Basic Pitch listens to at once, and by the second


@pytest.fixture(scope="module")
def basic_pitch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spotify's Basic Pitch as its wheel has it: ONNX, and a package that an older coremltools made of TensorFlow."""
    wheels = list(WHEELS.glob("basic_pitch-*.whl"))
    if not wheels:
        pytest.skip("`make test-real` downloads it")
    folder = tmp_path_factory.mktemp("basic_pitch")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder, [n for n in wheel.namelist() if "saved_models/" in n])
    return folder / "basic_pitch/saved_models/icassp_2022"


def answers(folder: Path, sound: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each output what the evaluator says of the package, and onnxruntime of the ONNX file."""
    program = read.read(folder / "nmp.mlpackage")
    array = sound.reshape(1, SAMPLES, 1).astype(np.float32)
    ours = evaluate.evaluate(program, {"input_2": array})
    running = onnxruntime.InferenceSession(str(folder / "nmp.onnx"))
    names = [output.name for output in running.get_outputs()]
    theirs = dict(zip(names, running.run(None, {running.get_inputs()[0].name: array}), strict=True))
    # By number: "Identity" or "Identity_2" in the package, "StatefulPartitionedCall:2" in the file.
    places = {name: name.removeprefix("Identity").removeprefix("_") or "0" for name in ours}
    return [(ours[name], theirs[f"StatefulPartitionedCall:{place}"]) for name, place in places.items()]


@pytest.mark.parametrize("loud", [0.0, 0.5])
def test_a_published_package_answers_as_the_onnx_file_beside_it(basic_pitch: Path, loud: float) -> None:
    noise = 0.2 * np.random.default_rng(0).standard_normal(SAMPLES)
    pairs = answers(basic_pitch, noise + loud * np.sin(2 * np.pi * 440 * np.arange(SAMPLES) / RATE))
    assert len(pairs) == 3
    for ours, theirs in pairs:
        assert np.abs(ours - theirs).max() <= CLOSE * np.abs(theirs).max()


def test_where_a_published_package_is_another_model_than_its_onnx_file_it_shows(basic_pitch: Path) -> None:
    """TensorFlow's div_no_nan is 0 of 0 / 0; coremltools made a plain division of it. So silence has no answer."""
    for ours, theirs in answers(basic_pitch, np.zeros(SAMPLES)):
        assert np.isnan(ours).all()
        assert np.isfinite(theirs).all()
