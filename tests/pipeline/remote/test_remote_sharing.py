"""Machines share what they build through a bucket, and a result that was found there is as good as a local one."""

from __future__ import annotations

import shutil
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from pipeline.artifact import Kind
from pipeline.planning import plan
from pipeline.planning.plan import Todo
from pipeline.remote.client import PART
from pipeline.store import State
from tests.pipeline.conftest import (
    ALL,
    EXPORTED,
    STORED,
    Capture,
    Check,
    Export,
    ExportCaptured,
    Random,
    Trim,
    digests,
    how,
    without_record,
)
from tests.pipeline.remote.conftest import BUCKET, PREFIX, Machine


@pytest.fixture
def machines(server, signer, tmp_path):
    return [Machine(tmp_path / name, signer) for name in ("one", "two")]


def test_a_second_machine_builds_nothing_and_delivers_the_same(machines):
    one, two = machines
    first, second = one.run(), two.run()
    assert one.ran() == ALL
    assert two.ran() == ["save"]
    assert digests(second) == digests(first)
    assert {name for name, what in how(second).items() if what == "hit"} == {"load", *STORED}
    sizes, facts = ({o.name: (o.size, dict(o.facts)) for o in r.outcomes if o.name != "load"} for r in (first, second))
    assert facts == sizes
    assert without_record(second.delivered) == without_record(first.delivered)
    two.assert_sound()


def test_only_what_is_delivered_or_built_on_is_downloaded(machines):
    one, two = machines
    one.run()
    two.run()
    objects = [folder.name for folder in (two.home / "store" / "objects").glob("*/*/")]
    assert objects == [one.object_of("compile").name]
    two.change("compile", text="other")
    two.run()
    assert two.ran() == ["save", "compile", "save"]
    assert two.store.state(one.object_of("tidy").name) is State.PRESENT
    assert not two.store.objects.folder(one.object_of("export").name).exists()


def test_a_sweep_on_two_machines_is_built_once_in_all(machines):
    for text in ("17", "18", "20"):
        for machine in machines:
            machine.change("export", text=f"opset {text}")
            machine.run()
    one, two = (machine.ran() for machine in machines)
    assert two == ["save"] * 3
    assert one.count("export") == 3
    assert one.count("record") == 1


def test_a_plan_says_what_is_remote_and_writes_nothing(machines, server):
    one, two = machines
    one.run()
    server.requests.clear()
    steps = plan.make(two.nodes(), two.store, two.world, damaged=set(), explain=True)
    assert {s.name for s in steps if s.todo is Todo.HIT} == set(STORED)
    assert {s.why for s in steps if s.todo is Todo.HIT} == {"remote"}
    assert {method for method, _ in server.requests} == {"GET"}
    assert server.count("GET", "/files/") == 0


def test_results_that_differ_each_time_are_one_result_for_all_who_come_after(machines, server, signer, tmp_path):
    for machine in machines:
        machine.stages["export"] = Random(machine.log)
    one, two = machines
    first, second = one.run(), two.run()
    assert digests(first) == digests(second)
    assert two.ran() == ["save"]


def test_a_warm_run_asks_nothing_and_holds_without_the_bucket(machines, server, caplog):
    one, two = machines
    one.run()
    two.run()
    server.requests.clear()
    for machine in machines:
        machine.again().run()
    assert server.requests == []
    server.stop()
    assert how(two.again().run())["export"] == "hit"
    assert two.ran() == ["save"] * 3
    assert caplog.records == []


def test_what_was_built_without_the_bucket_is_put_there_by_the_next_run(machines, signer, tmp_path):
    one, two = machines
    one.write = False
    one.run()
    one.write = True
    one.run()
    two.run()
    assert one.ran() == [*ALL, "save"]
    assert two.ran() == ["save"]


def test_who_only_reads_writes_nothing(machines, server):
    one, _ = machines
    one.write = False
    one.run()
    assert {method for method, _ in server.requests} == {"GET"}
    assert server.files() == []


def test_without_a_key_nothing_is_put_there_and_the_way_to_one_is_said_once(server, tmp_path, caplog):
    machine = Machine(tmp_path / "one", None)
    machine.run()
    assert server.files() == []
    (said,) = caplog.messages
    assert "no key to sign it with" in said
    assert "python -m pipeline.trust" in said


class Large(Export):
    """Writes weights of more than one part."""

    def make(self, inputs, folder):
        artifact = super().make(inputs, folder)
        (folder / "weights" / "0.bin").write_bytes(b"\x01\x02\x03" * (PART - 1))
        return artifact


def test_a_large_file_goes_in_parts_several_at_once(machines, server):
    for machine in machines:
        machine.stages["export"] = Large(machine.log, "opset 18")
    one, two = machines
    one.run()
    two.change("tidy", text="18")
    two.run()
    assert server.count("POST", "uploads") == 1
    assert server.count("PUT", "partNumber") == 3
    assert server.count("GET", server.largest().name) == 3
    assert two.ran() == ["tidy", "compile", "save"]
    two.assert_sound()


def test_files_that_results_share_are_stored_once(machines, server):
    one, _ = machines
    one.stages["trim"] = Trim(one.log)
    one.needs |= {"trim": ["export"], "tidy": ["export"], "save": ["trim"]}
    one.run()
    names = [path.name for path in server.files("files")]
    records = [f for digest in {p.name for p in one.home.glob("store/objects/*/*/")} for f in one.store.files(digest)]
    assert sorted({f.sha256 for f in records}) == names
    assert len(records) > len(names)


class CheckCaptured(Check):
    consumes = {"artifact": frozenset({EXPORTED}), "reference": frozenset({Kind.REFERENCE})}  # noqa: RUF012


def test_what_stands_on_a_result_in_memory_is_found_too(machines, caplog):
    for machine in machines:
        load, record, export, *rest = machine.stages.values()
        captured = {"capture": Capture(machine.log), "check": CheckCaptured(machine.log)}
        names = ["tidy", "compile", "save"]
        machine.stages = {
            "load": load,
            "record": record,
            **captured,
            "export": ExportCaptured(machine.log, export.text),
        }
        machine.stages |= dict(zip(names, rest, strict=True))
    one, two = machines
    first, second = one.run(), two.run()
    assert one.ran() == ["load", "record", "capture", "checkcaptured", "exportcaptured", "tidy", "compile", "save"]
    assert two.ran() == ["save"]
    assert digests(first)["compile"] == digests(second)["compile"]
    assert caplog.messages == []


def test_a_folder_serves_as_a_bucket(signer, tmp_path):
    one, two = (Machine(tmp_path / name, signer, address=str(tmp_path / "shared")) for name in ("one", "two"))
    one.run()
    two.run()
    assert two.ran() == ["save"]
    assert {path.name for path in (tmp_path / "shared" / "v1").iterdir()} == {
        "format.json",
        "files",
        "objects",
        "actions",
    }


def test_a_web_server_is_read(machines, server, signer, tmp_path):
    one, _ = machines
    one.run()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(server.root / BUCKET / PREFIX))

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    Thread(target=web.serve_forever, daemon=True).start()
    reader = Machine(tmp_path / "reader", signer, address=f"http://127.0.0.1:{web.server_port}")
    reader.run()
    reader.change("compile", text="other")
    reader.run()
    web.shutdown()
    assert reader.ran() == ["save", "compile", "save"]


def test_what_is_gone_here_is_had_from_there(machines):
    one, _ = machines
    one.run()
    shutil.rmtree(one.object_of("tidy"))
    one.change("compile", text="other")
    one.ran()
    one.run()
    assert one.ran() == ["compile", "save"]
