"""The delivered graph on a run's page: what is drawn, folded and left out, and why there is no drawing."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import pytest
from delivered_run import RECORD, delivered, written

from pipeline import report
from pipeline.report.folding import fold
from pipeline.report.layout import GAP, placed


def operation(name, *sources, type_="Op"):
    return SimpleNamespace(name=name, type=type_, sources=sources, gives="", attributes=None)


# A diamond with a tail: a feeds b and d, b feeds c, both meet in e.
DIAMOND = [
    operation("x", type_="input"),
    operation("a", "x"),
    operation("b", "a"),
    operation("c", "b"),
    operation("d", "a"),
    operation("e", "c", "d"),
    operation("f", "e"),
    operation("y", "f", type_="output"),
]


@pytest.mark.parametrize(
    ("most", "boxes", "left_out"),
    [
        (8, ["x", "a", "b", "c", "d", "e", "f", "y"], 0),
        (7, ["x", "a", "c", "d", "f", "y"], 0),  # chains: b into c, e into f
        (5, ["x", "a", "f", "y"], 0),  # and what only one other takes: c and d into f
        (3, ["x", "a", "f"], 1),
    ],
)
def test_a_graph_is_folded_only_as_far_as_it_must_be(most, boxes, left_out):
    folded = fold(DIAMOND, most)
    assert ([box.name for box in folded.boxes], folded.left_out, folded.operations) == (boxes, left_out, 6)
    seen = set()
    for box in folded.boxes:
        assert {*box.sources} <= seen  # no circle
        seen.add(box.name)
    assert ("are not drawn" in folded.says) is (left_out > 0)


def test_no_more_operations_go_into_one_box_than_a_person_reads():
    chain = [operation("0"), *(operation(str(i), str(i - 1)) for i in range(1, 60))]
    assert max(len(box.types) for box in fold(chain, 5).boxes) == 12


def test_boxes_of_a_layer_do_not_overlap_and_every_line_goes_down():
    sources = {"x": [], **{f"a{i}": ["x"] for i in range(9)}, "b": [f"a{i}" for i in range(9)], "c": ["b", "x"]}
    widths = {name: 40.0 + 10 * i for i, name in enumerate(sources)}
    layout = placed(sources, widths)
    for (one, (left, layer)), (other, (right, its)) in itertools.combinations(layout.middles.items(), 2):
        assert layer != its or abs(left - right) >= (widths[one] + widths[other]) / 2 + GAP - 1e-6
    for _, _, way in layout.lines:
        assert [layer for _, layer in way] == list(range(way[0][1], way[-1][1] + 1))
    assert len(layout.lines) == 20
    assert min(middle - widths[name] / 2 for name, (middle, _) in layout.middles.items()) >= 0
    assert max(middle + widths[name] / 2 for name, (middle, _) in layout.middles.items()) <= layout.width


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_a_delivered_file_is_drawn_with_its_names_types_and_shapes(tmp_path, kind):
    folder = delivered(tmp_path / "one", {**RECORD, "kind": kind}, written(kind, tmp_path))
    page = report.of_run(folder).read_text()
    for said in (">MatMul</text>", ">image</text>", "3 operations in 6 boxes", "[3, 3]", 'id="net-words"', "axis: 1"):
        assert said in page


def test_a_report_imports_no_framework(tmp_path):
    folder = delivered(tmp_path / "one", {**RECORD, "kind": "openvino"}, written("openvino", tmp_path))
    code = (
        "import sys; from pathlib import Path; from pipeline import report; "
        f"report.of_run(Path({str(folder)!r})); "
        "print({'torch', 'openvino', 'coremltools', 'onnx'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "set()\n", done.stderr
    assert ">MatMul</text>" in (folder / "report.html").read_text()


def edited(folder):
    with (folder / "artifact" / "net.onnx").open("ab") as f:
        f.write(b"\x32\x01x")  # another field of the file, a documentation


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("onnx", edited, "net.onnx is not what the run handed over: its content has another SHA-256"),
        (
            "onnx",
            lambda folder: (folder / "artifact" / "net.onnx").unlink(),
            "the file is no longer where the run left it",
        ),
        ("openvino_blob", lambda folder: None, "what is in a file of the kind openvino_blob cannot be read here"),
    ],
)
def test_a_graph_that_is_not_drawn_says_why(tmp_path, kind, change, why):
    folder = delivered(tmp_path / "one", {**RECORD, "kind": "onnx"}, written("onnx", tmp_path))
    run = folder / "run.json"
    run.write_text(run.read_text().replace('"kind": "onnx"', f'"kind": "{kind}"'))
    change(folder)
    page = report.of_run(folder).read_text()
    assert f"Not drawn: {why}" in page
    assert "<script>" not in page


def test_a_file_that_cannot_be_read_is_no_reason_to_have_no_page(tmp_path):
    path = tmp_path / "net.xml"
    path.write_text("<net>")
    folder = delivered(tmp_path / "one", {**RECORD, "kind": "openvino"}, path)
    assert "Not drawn: net.xml cannot be read: ParseError" in report.of_run(folder).read_text()
