"""Whatever becomes of a bucket, a run ends well: at most it builds what it could have found, and says so once."""

from __future__ import annotations

import json
import threading

import pytest

from pipeline.errors import BackendMissing, ConfigError
from pipeline.remote import bucket
from pipeline.remote.address import Address
from pipeline.remote.names import file_name
from pipeline.remote.remote import Remote
from pipeline.store.files import FileRecord
from tests.pipeline.conftest import ALL, STORED, Boom, digests, raising
from tests.pipeline.remote.conftest import BUCKET, PREFIX, Machine, answer, drop, on, slow


@pytest.fixture
def one(server, signer, tmp_path):
    return Machine(tmp_path / "one", signer)


@pytest.fixture
def two(server, signer, tmp_path):
    return Machine(tmp_path / "two", signer)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(bucket, "ANSWER_SECONDS", 1.5)
    monkeypatch.setattr(bucket, "PATIENCE_SECONDS", 1.5)


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (on("", "", drop), "error sending request"),
        (on("", "", slow(30)), "no answer within"),
        (on("", "", lambda handler: answer(500, "InternalError")), "500 Internal Server Error InternalError"),
        (on("", "", lambda handler: answer(503, "SlowDown")), "503 Service Unavailable SlowDown"),
        (on("", "", lambda handler: answer(403, "AccessDenied")), "403 Forbidden AccessDenied"),
        (on("", "", lambda handler: answer(403, "RequestTimeTooSkewed")), "set the clock of this machine"),
        (on("", "", lambda handler: answer(404, "NoSuchBucket")), "there is no such bucket"),
    ],
    ids=["dropped", "silent", "500", "503", "403", "clock", "wrong bucket"],
)
def test_a_bucket_that_does_not_serve_is_left_alone_after_one_caution(one, server, impatient, caplog, fault, said):
    server.fault = fault
    result = one.run()
    assert one.ran() == ALL
    assert result.delivered.is_file()
    caution = caplog.messages[0]
    assert said in caution
    assert f"remote=s3://{BUCKET}/{PREFIX} is not asked from now on" in caution
    assert "remote=null" in caution
    assert len(caplog.messages) == 1
    assert server.count("PUT", "") == 0
    requests = len(server.requests)
    one.change("export", text="other")
    one.run()
    assert len(server.requests) == requests


def test_a_server_that_stops_in_mid_run_ends_no_run_and_what_was_not_put_there_is_the_next_time(
    one, two, server, impatient, monkeypatch, caplog
):
    one.change("tidy", hook=lambda inputs: server.stop())
    first = one.run()
    assert one.ran() == ALL
    assert first.delivered.is_file()
    assert len(caplog.messages) == 1
    one.assert_sound()
    one.change("tidy", hook=lambda inputs: None)
    server.fault = None
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    one.again().run()
    assert digests(two.again().run()) == digests(first)
    assert two.ran() == ["save"]


def test_a_server_that_stops_before_a_download_costs_a_build(one, two, server, impatient, caplog):
    one.run()
    server.fault = on("GET", "/files/", drop)
    two.run()
    assert two.ran() == ["load", "export", "tidy", "compile", "save"]
    assert len(caplog.messages) == 1


def test_a_server_that_is_slow_each_time_is_left_alone(one, two, server, monkeypatch, caplog):
    one.run()
    monkeypatch.setattr("pipeline.remote.remote.WAITED_SECONDS", 0.2)
    server.fault = on("GET", "/actions/", slow(0.15))
    two.run()
    assert "it is too slow" in caplog.messages[0]
    assert server.count("GET", "/actions/") < 2 * len(STORED)


@pytest.mark.parametrize(
    ("below", "harm"),
    [
        ("files", "flip"),
        ("objects", "cut"),
        ("files", "gone"),
        *(
            pytest.param(*c, marks=pytest.mark.slow)
            for c in [("objects", "flip"), ("files", "cut"), ("objects", "gone")]
        ),
    ],
)
def test_harm_in_the_bucket_is_found_built_around_and_mended(one, two, server, signer, tmp_path, caplog, below, harm):
    first = one.run()
    for path in server.files(below):
        if harm == "flip":
            flipped(path)
        elif harm == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        else:
            path.unlink()
    assert digests(two.run()) == digests(first)
    assert "compile" in two.ran()
    two.assert_sound()
    three = Machine(tmp_path / "three", signer)
    assert digests(three.run()) == digests(first)
    assert three.ran() == ["save"]


def test_a_body_that_ends_early_is_not_used(one, two, server, caplog):
    first = one.run()

    def cut(handler):
        handler._send_headers(200, 1000, {"ETag": '"x"', "Last-Modified": "Mon, 30 Nov 2026 09:00:00 GMT"})
        handler.wfile.write(b"x" * 10)
        handler.wfile.flush()
        drop(handler)

    server.fault = on("GET", "/files/", cut)
    assert digests(two.run()) == digests(first)
    two.assert_sound()


def test_who_may_not_write_reads(one, two, server, caplog):
    one.run()
    server.fault = on("PUT", "", lambda handler: answer(403, "AccessDenied"))
    two.change("compile", text="other")
    two.run()
    assert two.ran() == ["compile", "save"]
    (said,) = caplog.messages
    assert "1 result was not put into" in said
    assert "403 Forbidden AccessDenied" in said
    assert "remote.write=false" in said
    two.change("compile", text="another")
    two.run()
    assert len(caplog.messages) == 1


def test_who_may_not_list_has_misses_where_nothing_is(one, two, server, caplog):
    one.run()

    def deny(handler):
        if not (server.root / handler.path.lstrip("/")).exists():
            answer(403, "AccessDenied")

    server.fault = on("GET", "", deny)
    two.change("compile", text="other")
    two.run()
    assert two.ran() == ["compile", "save"]
    assert caplog.messages == []


@pytest.mark.parametrize("content", [b"{}", b"\xff", b"[" * 99_999, json.dumps({"format": 2}).encode()])
def test_a_bucket_of_another_format_is_neither_read_nor_written(one, server, caplog, content):
    path = server.root / BUCKET / PREFIX / "v1" / "format.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    one.run()
    assert one.ran() == ALL
    assert "was written in format" in caplog.messages[0]
    assert server.files() == [path]


def test_who_reads_where_nobody_wrote_is_told(server, signer, tmp_path, caplog):
    machine = Machine(tmp_path / "one", signer, write=False)
    machine.run()
    assert "has nothing of Drydock's in it" in caplog.messages[0]


def test_a_run_that_fails_has_put_there_what_was_finished(one, two):
    one.change("compile", hook=raising(Boom("no")))
    with pytest.raises(Exception, match="compile failed"):
        one.run()
    two.run()
    assert two.ran() == ["compile", "save"]


def test_an_interruption_waits_for_no_upload(one, server, caplog):
    waits = threading.Event()
    server.fault = on("PUT", "/files/", lambda handler: waits.wait(60))
    one.change("compile", hook=raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        one.run()
    waits.set()
    assert caplog.messages == []
    assert server.files("actions") == []


def test_an_upload_that_takes_too_long_is_ended_and_said(one, server, monkeypatch, caplog):
    monkeypatch.setattr("pipeline.remote.uploads.limit_of", lambda size: 0.3)
    waits = threading.Event()
    server.fault = on("PUT", "/files/", lambda handler: waits.wait(60))
    assert one.run().delivered.is_file()
    waits.set()
    assert f"{len(STORED)} results were not put into" in caplog.messages[0]
    assert server.files("actions") == []


def test_a_disk_that_refuses_a_download_is_no_fault_of_the_bucket(one, two, server, tmp_path):
    one.run()
    path = server.largest()
    record = FileRecord("x", path.stat().st_size, path.name)
    with pytest.raises(FileNotFoundError) as refused:
        two.bucket.loop.run(two.bucket.download(file_name(path.name), tmp_path / "nowhere" / "x", record))
    assert refused.value.filename == str(tmp_path / "nowhere" / "x")


def test_a_process_that_asks_and_is_killed_costs_a_caution(one, server, caplog):
    one.change("tidy", hook=lambda inputs: one.bucket._worker._process.kill())
    assert one.run().delivered.is_file()
    assert one.ran() == ALL
    assert len(caplog.messages) == 1
    assert "the process that asks it has ended" in caplog.messages[0]


def test_without_its_libraries_a_remote_ends_the_run_before_any_work_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.remote.remote.is_installed", lambda module: False)
    with pytest.raises(BackendMissing, match="'obstore' is not installed") as lacking:
        Remote.of(Address.parse(str(tmp_path)), tmp_path, frozenset(), write=True)
    assert [p.command.startswith("pip install") for p in lacking.value.problems] == [True, True]


def test_a_folder_that_is_only_read_has_to_be_there(tmp_path):
    with pytest.raises(ConfigError, match="is no folder"):
        Remote.of(Address.parse(str(tmp_path / "nowhere")), tmp_path, frozenset(), write=False)


def test_the_doctor_says_whether_it_answers_and_what_one_may_do_there(one, server, signer):
    remote = one.store._elsewhere
    assert remote.serves() == f"answers, with nothing of Drydock's in it yet; written to as key:{signer.id}"
    one.write = False
    one.run()
    one.write = True
    one.again().run()
    one.write = False
    assert one.again().store._elsewhere.serves() == "answers; only read"
    server.fault = on("", "", lambda handler: answer(403, "AccessDenied"))
    assert one.again().store._elsewhere.serves().startswith("does not serve: 403 Forbidden AccessDenied; credentials")
