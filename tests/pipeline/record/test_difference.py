"""The differences of two records, by kind."""

from __future__ import annotations

import copy

import pytest

from pipeline.record.difference import What, before_running, between, says_no_less

RECORD = {
    "schema": 2,
    "sources": {"stages/load.py": "a", "stages/shared.py": "b"},
    "drydock": "0.1.0",
    "model": "net",
    "target": "onnx",
    "precision": {"name": "fp32"},
    "seed": 0,
    "kind": "onnx",
    "libraries": {"onnx": "1.23", "onnxsim": "0.8"},
    "checks": [{"stage": "check", "of": "export", "parity": {"shapes": ["1x3"]}}],
    "stages": [
        {
            "name": "load",
            "stage": "load",
            "needs": {},
            "settings": {"sha256": 64 * "a", "inputs": {"x": [1, 3]}},
            "content": {"code": {"version": "2"}},
            "libraries": [],
        },
        {
            "name": "export",
            "stage": "export",
            "needs": {"module": "load"},
            "settings": {"opset": 18},
            "libraries": ["onnx"],
            "digest": 64 * "c",
        },
        {
            "name": "check",
            "stage": "check",
            "needs": {"artifact": "export"},
            "settings": {"tolerance": {"max_rel": 1e-4}},
            "libraries": ["onnxsim"],
        },
    ],
}


def changed(*places):
    """The record with something else at each place, given as keys that lead there and a value."""
    record = copy.deepcopy(RECORD)
    for *keys, last, value in places:
        at = record
        for key in keys:
            at = at[key]
        at[last] = value
    return record


CHANGES = [
    (("stages", 0, "settings", "sha256", 64 * "b"), "load: settings: sha256: aaaaaaaaaaaa… → bbbbbbbbbbbb…"),
    (("stages", 0, "settings", "inputs", {"x": [1, 4]}), "load: settings: inputs.x: [1,3] → [1,4]"),
    (("stages", 0, "content", "code", {"version": "3"}), "load: content: code.version: 2 → 3"),
    (("stages", 0, "code", {"source": "s"}), "load: content: code.source: absent → s"),
    (("stages", 1, "needs", {"module": "eval"}), "export: graph: module: load → eval"),
    (("stages", 1, "stage", "other"), "export: graph: export → other"),
    (("stages", 1, "digest", 64 * "d"), "export: bytes: cccccccccccc… → dddddddddddd…"),
    (("stages", 2, "settings", "tolerance", {"max_rel": 1e-3}), "check: settings: tolerance.max_rel: 0.0001 → 0.001"),
    (("libraries", "onnxsim", "0.9"), "check: library: onnxsim 0.8 → 0.9"),
    (("checks", 0, "parity", {"shapes": ["2x3"]}), 'check: claims: parity.shapes: ["1x3"] → ["2x3"]'),
    (("seed", 1), "the run: settings: seed: 0 → 1"),
    (("precision", {"name": "fp16"}), "the run: settings: precision.name: fp32 → fp16"),
]


@pytest.mark.parametrize(("change", "says"), CHANGES, ids=[t for _, t in CHANGES])
def test_one_change_is_told_as_what_it_is(change, says):
    assert [str(d) for d in between(RECORD, changed(change))] == [says]


def test_equal_records_differ_in_nothing():
    assert between(RECORD, copy.deepcopy(RECORD)) == []


@pytest.mark.parametrize(("one", "says"), [(True, "only after"), (False, "only before")])
def test_a_stage_that_only_one_has_is_told(one, says):
    less = changed()
    del less["stages"][2], less["checks"][0]
    (only,) = between(less, RECORD) if one else between(RECORD, less)
    assert (only.stage, only.what, only.says) == ("check", What.GRAPH, says)


def test_causes_come_before_what_they_brought_about():
    after = changed(("stages", 1, "digest", 64 * "d"), ("stages", 1, "settings", "opset", 20))
    assert [d.what for d in between(RECORD, after)] == [What.SETTINGS, What.BYTES]


BEHIND = {"load": ["stages/load.py", "stages/shared.py"], "export": ["stages/onnx/export.py", "stages/shared.py"]}


def test_a_file_that_does_something_else_is_named_at_each_stage_behind_which_it_is():
    after = changed(("sources", "stages/shared.py", "c"))
    says = [str(d) for d in between(RECORD, after, BEHIND)]
    assert says == ["load: code: stages/shared.py", "export: code: stages/shared.py"]
    assert [str(d) for d in between(RECORD, after)] == ["the run: code: stages/shared.py"]


def test_of_a_record_that_is_older_than_sources_the_file_is_named_whose_result_differs():
    before, after = changed(("sources", {})), changed(("stages", 1, "digest", 64 * "d"))
    code, size = sorted(between(before, after, BEHIND), key=lambda d: d.what is What.BYTES)
    assert str(code) == "export: code: stages/onnx/export.py, or a file that it uses: the record is older"
    assert size.what is What.BYTES
    assert between(before, RECORD, BEHIND) == []


def test_before_a_run_its_settings_and_libraries_are_known_and_its_bytes_are_not():
    stages = changed(("stages", 1, "settings", "opset", 20))["stages"]
    for stage in stages:
        stage.pop("digest", None)
        del stage["needs"]
    differences = before_running(RECORD, stages, {"onnx": "1.24", "onnxsim": "0.8"})
    assert [str(d) for d in differences] == ["export: settings: opset: 18 → 20", "export: library: onnx 1.23 → 1.24"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda r: r["stages"][1]["settings"].update(effort="quick"), True),
        (lambda r: r["checks"][0]["parity"].update(families=["zeros"]), True),
        (lambda r: r["checks"][0]["parity"]["shapes"].append("8x3"), True),
        (lambda r: r["checks"][0]["parity"].update(shapes=["8x3"]), False),
        (lambda r: r["stages"][1]["settings"].update(opset=17), False),
        (lambda r: r["stages"].pop(), False),
        (lambda r: r.pop("seed"), False),
    ],
    ids=[
        "a setting since",
        "a claim since",
        "a shape more",
        "a shape less",
        "a setting",
        "a stage less",
        "a part less",
    ],
)
def test_a_record_that_says_more_than_an_older_one_knew_of_says_no_less(change, same):
    later = copy.deepcopy(RECORD)
    change(later)
    assert says_no_less(RECORD, later) is same


def test_what_an_older_record_did_not_know_of_is_newer():
    later = copy.deepcopy(RECORD)
    later["stages"][1]["settings"] |= {"effort": "quick", "opset": 17}
    says = {d.says: d.is_newer for d in between(RECORD, later) if d.what is What.SETTINGS}
    assert says == {"opset: 18 → 17": False, "effort: absent → quick": True}
