"""The record of a delivery: what decided it and what vouches for it, and nothing of where it was made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from pipeline.artifact import Artifact, Kind
from pipeline.record import lineage
from pipeline.store.files import sha256
from stages.onnx.format import ONNX
from stages.onnx.record import Record as Onnx
from tests.pipeline.conftest import Check, Dock, Export, Fake, Save


class Vouching(Check):
    def make(self, inputs, folder):
        return inputs["artifact"].noting(claims={"parity": {"within": self.text}}, parity={"measured": 0.123})


class LeavesOpen(Export):
    def make(self, inputs, folder):
        result = super().make(inputs, folder)
        return replace(result, notes={"claims": {"sizes": {"not_checked": ["h < w"]}}})


@dataclass(frozen=True)
class Configured(Export):
    options: dict[str, Any] = field(default_factory=dict)


class Once(Export):
    repeatable = False


@pytest.fixture
def vouched(dock):
    dock.stages["export"] = Configured(dock.log, "opset 18", options={"seed": 3})
    dock.stages["check"] = Vouching(dock.log, "1e-4")
    dock.stages["look"] = Check(dock.log)
    dock.stages["save"] = dock.stages.pop("save")
    return dock


def record(dock: Dock) -> dict[str, Any]:
    written = dock.run().record
    assert written is not None
    return dict(written)


def test_it_names_what_was_delivered_by_its_content(vouched):
    recorded = record(vouched)
    folder = vouched.object_of("compile")
    assert (recorded["kind"], recorded["made_by"], recorded["digest"]) == ("openvino", "compile", folder.name)
    assert recorded["content"] == {n: sha256(folder / n) for n in ("model.bin", "model.xml")}
    assert recorded["facts"] == {"source": {"bytes": 100}}


def test_every_stage_that_had_a_part_is_told_in_order_with_what_fed_it(vouched):
    recorded = {s["name"]: s for s in record(vouched)["stages"]}
    assert list(recorded) == ["load", "record", "export", "tidy", "compile", "check"]
    assert recorded["check"]["needs"] == {"artifact": "compile", "reference": "record"}
    settings = recorded["export"]["settings"]
    assert (settings["log"], settings["text"], settings["options"]) == ("<file>", "opset 18", {"seed": 3})
    assert recorded["export"]["digest"] == vouched.object_of("export").name
    assert "digest" not in recorded["load"]


def test_a_stage_that_only_looks_is_left_out_and_what_it_looked_at_is_not(vouched):
    recorded = record(vouched)
    assert recorded["handed_on_by"] == "check"
    assert recorded["checks"] == [{"stage": "check", "of": "compile", "delivered": True, "parity": {"within": "1e-4"}}]


def test_a_check_of_what_came_before_is_told_as_such(vouched):
    vouched.needs["check"] = ["export"]
    vouched.needs["compile"] = ["check"]
    (check,) = record(vouched)["checks"]
    assert (check["of"], check["delivered"]) == ("export", False)


def test_what_a_stage_leaves_open_of_what_it_made_is_told_among_the_checks(vouched):
    vouched.stages["export"] = LeavesOpen(vouched.log)
    first, *_ = record(vouched)["checks"]
    assert first == {"stage": "export", "of": "export", "delivered": False, "sizes": {"not_checked": ["h < w"]}}


def test_what_cannot_be_made_again_byte_for_byte_has_no_digest_and_says_so(vouched):
    vouched.stages["export"] = Once(vouched.log)
    recorded = {s["name"]: s for s in record(vouched)["stages"]}
    assert recorded["export"]["repeatable"] is False
    assert "digest" not in recorded["export"]


def test_equal_graphs_have_equal_records_wherever_they_are_made(tmp_path):
    texts = []
    for name in ("here", "there/and/deeper"):
        (tmp_path / name).mkdir(parents=True)
        dock = Dock(tmp_path / name)
        dock.stages["check"] = Vouching(dock.log, "1e-4")
        dock.stages["save"] = dock.stages.pop("save")
        recorded = record(dock)
        for stage in recorded["stages"]:
            del stage["settings"]["hook"]  # a function of these fakes, told by its address
        texts.append(lineage.text(recorded))
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0]
    assert "0.123" not in texts[0]


def test_the_delivered_file_carries_the_record_that_the_run_tells(dock):
    dock.stages = {n: dock.stages[n] for n in ("load", "record", "export", "save")}
    dock.stages["export"] = Real(dock.log)
    result = dock.run()
    assert json.loads(Onnx.get(result.delivered)) == result.record
    beside = json.loads((result.delivered.parent / "artifact.json").read_text())
    assert beside == {**result.record, "files": ["model.onnx"]}


class Real(Fake):
    """A message that a reader of ONNX takes: its producer's name and nothing else."""

    consumes: ClassVar = {"module": frozenset({Kind.MODULE})}

    def make(self, inputs, folder):
        (folder / "model.onnx").write_bytes(b"\x12\x04test")
        return Artifact(ONNX, folder)


def test_the_order_of_a_mapping_is_kept(vouched):
    vouched.change("export", options={"b": 1, "a": 2})
    recorded = {s["name"]: s for s in json.loads(lineage.text(record(vouched)))["stages"]}
    assert list(recorded["export"]["settings"]["options"]) == ["b", "a"]


def test_a_word_that_is_no_files_name_stays_though_a_file_is_called_so(vouched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opset 18").touch()
    recorded = {s["name"]: s for s in record(vouched)["stages"]}
    assert recorded["export"]["settings"]["text"] == "opset 18"


def test_a_run_that_delivers_nothing_has_no_record(dock):
    del dock.stages["save"]
    assert dock.run().record is None


def test_of_several_deliveries_each_has_its_own(dock):
    dock.stages["save_graph"] = Save(dock.log)
    dock.needs["save_graph"] = ["export"]
    dock.run()
    recorded = {p.parent.name: json.loads(p.read_text())["made_by"] for p in dock.output.glob("*/artifact.json")}
    assert recorded == {"save": "compile", "save_graph": "export"}
