"""A sweep as a table."""

import csv
import io
from dataclasses import replace

import pytest
from fake_sweep import FakeSweep, benchmark, finished, write

from pipeline.report import tables
from pipeline.report.collect import collect
from pipeline.report.measures import MEASURES
from pipeline.report.page import html
from pipeline.report.select import Rule


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return Rule.read("min latency").applied(collect(write(tmp_path_factory.mktemp("sweeps") / "one")))


def test_the_terminals_table_is_aligned_and_tells_what_failed(sweep):
    lines = tables.terminal(sweep).splitlines()
    assert lines[:7] == [
        "#  opset  precision  status        error  accuracy    drop   latency  speed-up     size   build  hits  saved",
        "0  18     fp32       ✓ ok        2.0e-07    0.9000  0.0000   8.00 ms     3.00×  3.9 KiB  11.0 s   0/5  0.0 s",
        "1  18     fp16       ✓ ok ★      3.0e-04    0.8980  0.0020  ~5.00 ms     noisy  2.0 KiB   4.0 s   2/5  7.0 s",
        "2  18     int8       ✕ failed 5                                                           0.0 s   1/1  3.0 s",
        "3  20     fp32       ✓ ok        1.0e-07    0.9000  0.0000   10.5 ms     noisy  9.8 KiB  11.0 s   0/5  0.0 s",
        "4  20     fp16       ? lost",
        "5  20     int8       – not run",
    ]
    assert "failed 5: opset=18 precision=int8" in lines
    assert "  check: <b>wrong</b> by 0.5" in lines
    assert "  try: precision=fp16" in lines
    assert "  It never began." in lines
    best = "★ min latency: opset=18 precision=fp16; 1 of 6 latencies are noisy, so another run may choose another job"
    assert best in lines
    assert "~ noisy, no ground for a claim: opset=18 precision=fp16 (spread 31%)" in lines
    assert (
        "6 jobs: 3 ok, 1 failed, 1 lost, 1 not run; 26.0 s of work, 10.0 s saved by sharing, 0.0 s by earlier runs"
        in lines
    )


def test_a_pull_requests_table_has_a_row_for_each_job_and_stays_one(sweep):
    nasty = replace(sweep.jobs[1], swept={"opset": "a|b", "precision": "<script>"})
    lines = tables.markdown(replace(sweep, jobs=(sweep.jobs[0], nasty))).splitlines()
    assert lines[1] == "| :-- | :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    assert lines[2].startswith("| 0 | 18 | fp32 | ✓ ok | 2.0e-07 | 0.9000 |")
    assert lines[3].startswith("| 1 | a\\|b | &lt;script> | ✓ ok ★ |")
    assert "~ noisy, no ground for a claim: opset=a\\|b precision=&lt;script> (spread 31%)" in lines


def test_a_spreadsheet_has_plain_numbers(sweep):
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(sweep))))
    assert [float(r["latency"]) for r in rows if r["latency"]] == [8.0, 5.0, 10.5]
    assert (rows[0]["opset"], rows[0]["size"], rows[0]["error"]) == ("18", "4000", "2e-07")
    assert (rows[2]["status"], rows[2]["exit_code"], rows[2]["problem"]) == (
        "failed",
        "5",
        "check: <b>wrong</b> by 0.5",
    )


CLAIMS = [
    ({}, "8.00 ms", "3.00×"),
    ({"spread": 0.31}, "~8.00 ms noisy: spread 31%", "noisy openvino spread 31%"),
    ({"tail": 90.0}, "~8.00 ms noisy: p99 90× p50", "noisy openvino p99 90× p50"),
    ({"eager": 1.86}, "8.00 ms", "noisy eager spread 186%"),
    ({"by": "onnx"}, "†8.00 ms by onnxruntime, not by tensorrt", "†3.00× by onnxruntime, not by tensorrt"),
]


@pytest.mark.parametrize(("measured", "latency", "speedup"), CLAIMS)
def test_a_figure_stands_beside_the_reason_to_doubt_it(tmp_path, measured, latency, speedup):
    sweep = FakeSweep(tmp_path / "one")
    target = "tensorrt_bundle" if "by" in measured else "openvino"
    sweep.job("opset=18", target=target).finish(
        finished("built", "a", "18", 1e-7, size=1, **benchmark(8.0, **measured))
    )
    collected = collect(sweep.listed({"opset": ["18"]}))
    (job,) = collected.jobs
    cells = [
        " ".join([tables.figure(job, m), *tables.doubts(job, m)]) for m in (MEASURES["latency"], MEASURES["speedup"])
    ]
    assert cells == [latency, speedup]
    page = html(collected)
    assert all(f"<small>{why}</small>" in page for why in tables.doubts(job, MEASURES["latency"]))
    assert [row["noise"] for row in csv.DictReader(io.StringIO(tables.as_csv(collected)))] == [job.noise]


FORMULAS = ["=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(1)", "\t=1"]


@pytest.mark.parametrize("value", FORMULAS)
def test_no_cell_of_a_spreadsheet_is_a_formula(sweep, value):
    job = replace(sweep.jobs[0], swept={"opset": value, "precision": "-1.5e-3"}, problem=value)
    row = next(csv.DictReader(io.StringIO(tables.as_csv(replace(sweep, jobs=(job,))), newline="")))
    assert (row["opset"], row["problem"], row["precision"]) == (f"'{value}", f"'{value}", "-1.5e-3")


def test_a_carriage_return_begins_no_line_of_a_spreadsheet(sweep):
    job = replace(sweep.jobs[0], problem="a\r=1")
    assert next(csv.DictReader(io.StringIO(tables.as_csv(replace(sweep, jobs=(job,))))))["problem"] == "a\\r=1"


def test_a_pull_requests_table_has_no_link_and_nothing_that_a_terminal_obeys(sweep):
    nasty = {"opset": "[l](javascript:alert(1))", "precision": "\x1b[2J`\r"}
    job = replace(sweep.jobs[2], swept=nasty, command="python -m pipeline 'a\n\n[l](javascript:1)'")
    written = tables.markdown(replace(sweep, jobs=(job,)))
    assert "\\[l\\](javascript:alert(1))" in written
    assert "\\\\x1b\\[2J\\`\\\\r" in written
    assert "\n[l]" not in written


def test_what_has_no_room_on_a_terminal_is_left_out_from_the_end_and_named(sweep):
    lines = tables.terminal(sweep, failures=False, columns=80).splitlines()
    assert lines[0] == "#  opset  precision  status        error  accuracy    drop   latency  speed-up"
    assert max(map(len, lines[:7])) <= 80
    assert "no room here for size, build, hits, saved: see report.html" in lines
    assert (
        "26.0 s of work, 10.0 s saved by sharing, 0.0 s by earlier runs" in lines
    )  # whoever counts jobs does so later
