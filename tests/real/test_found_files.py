"""Files as their authors published them, by the first command or by pasting what it says: `make test-real`."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
WHEELS = Path(__file__).parents[2] / ".venv/real"
OCR, VAD, PITCH = (
    "rapidocr_onnxruntime/models",
    "silero_vad/data",
    "basic_pitch/saved_models/icassp_2022",
)
# What each ONNX file takes of what is suggested: nothing, or ranges; OpenVINO must know how many dimensions Silero's
# values have, and so wants a number for the length of a sound, too.
FOUND = {
    f"{OCR}/ch_PP-OCRv4_det_infer.onnx": {"onnx": 1, "openvino": 1},
    f"{OCR}/ch_PP-OCRv4_rec_infer.onnx": {"onnx": 1, "openvino": 1},
    f"{OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx": {"onnx": 1, "openvino": 1},
    f"{VAD}/silero_vad.onnx": {"onnx": 1, "openvino": 2},
    f"{VAD}/silero_vad_16k_op15.onnx": {"onnx": 1, "openvino": 2},
    f"{VAD}/silero_vad_16k_sequence.onnx": {"onnx": 1, "openvino": 1},
    f"{VAD}/silero_vad_half.onnx": {"onnx": 1, "openvino": 2},
    f"{VAD}/silero_vad_op18_ifless.onnx": {"onnx": 1, "openvino": 1},
    f"{VAD}/silero_vad_openvino_16k.onnx": {"onnx": 0, "openvino": 0},
    f"{PITCH}/nmp.onnx": {"onnx": 1, "openvino": 1},
}
OTHERS = ("nmp.onnx", "nmp.tflite", "nmp")  # Basic Pitch, for model=file


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheels = list(WHEELS.glob("*.whl"))
    if not wheels:
        pytest.skip("`make test-real` downloads them")
    folder = tmp_path_factory.mktemp("published")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(folder, [n for n in opened.namelist() if n.startswith((OCR, VAD, PITCH))])
    return folder


def converted(folder: Path, *words: str) -> tuple[int, dict[str, object]]:
    """How often what a message said was pasted, and the record of the run that went through."""
    pasted = 0
    overrides = [*words, f"store={folder / 'store'}", f"output={folder / 'made'}"]
    while True:
        command = [sys.executable, "-m", "pipeline", *overrides, f"hydra.run.dir={folder / str(pasted)}"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode == 0:
            return pasted, json.loads((folder / str(pasted) / "run.json").read_text())
        typed = re.search(r"try: .*?('(?:\+?model\.|~).*'|model\.sha256=\w+)", run.stderr)
        assert typed is not None, run.stderr
        assert pasted < 2, run.stderr
        overrides += shlex.split(typed[1])
        pasted += 1


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("file", FOUND)
def test_an_onnx_file_is_converted_by_what_the_first_command_says(
    published: Path, tmp_path: Path, file: str, target: str
) -> None:
    pasted, record = converted(tmp_path, "model=onnx_file", f"model.weights={published / file}", f"target={target}")
    assert pasted == FOUND[file][target]
    assert "worst relative error" in json.dumps(record) or "max_rel" in json.dumps(record)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_part_of_a_torchscript_that_takes_its_state_is_converted(
    published: Path, tmp_path: Path, target: str
) -> None:
    file = f"model.weights={published / VAD / 'silero_vad.jit'}"
    inputs = "model.inputs={x: {shape: [batch, 576]}, state: {shape: [2, batch, 128]}}"
    pasted, _ = converted(tmp_path, "model=module_file", file, "model.part=_model", inputs, f"target={target}")
    assert pasted == 1  # the SHA-256 by which one consents to run it


def test_the_whole_torchscript_is_refused_for_its_state_with_the_parts_to_try(published: Path, tmp_path: Path) -> None:
    file = published / VAD / "silero_vad.jit"
    words = [f"model.weights={file}", f"model.sha256={hashlib.sha256(file.read_bytes()).hexdigest()}", "target=onnx"]
    words += ["model.inputs={x: {shape: [batch, 512]}}", "model.call={args: [x, 16000]}", f"store={tmp_path / 'store'}"]
    command = [sys.executable, "-m", "pipeline", "model=module_file", *words, f"hydra.run.dir={tmp_path / 'run'}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 5, run.stderr
    assert "forward sets _context, _state" in run.stderr
    assert "model.part=_model or" in run.stderr


@pytest.mark.parametrize("file", OTHERS)
def test_a_file_of_another_framework_is_converted_likewise(published: Path, tmp_path: Path, file: str) -> None:
    assert converted(tmp_path, "model=file", f"model.path={published / PITCH / file}", "target=openvino")[0] == 1
