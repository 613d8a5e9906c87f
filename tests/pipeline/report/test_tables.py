"""A sweep as a table."""

import csv
import io
from dataclasses import replace

import pytest
from fake_sweep import write

from pipeline.report import tables
from pipeline.report.collect import collect
from pipeline.report.select import Rule


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return Rule.read("min latency").applied(collect(write(tmp_path_factory.mktemp("sweeps") / "one")))


def test_the_terminals_table_is_aligned_and_tells_what_failed(sweep):
    lines = tables.terminal(sweep).splitlines()
    assert lines[:7] == [
        "#  opset  precision  status        error  accuracy    drop   latency     size   build  hits  saved",
        "0  18     fp32       ✓ ok        2.0e-07    0.9000  0.0000   8.00 ms  3.9 KiB  11.0 s   0/5  0.0 s",
        "1  18     fp16       ✓ ok ★      3.0e-04    0.8980  0.0020  ~5.00 ms  2.0 KiB   4.0 s   2/5  7.0 s",
        "2  18     int8       ✕ failed 5                                                 0.0 s   1/1  3.0 s",
        "3  20     fp32       ✓ ok        1.0e-07    0.9000  0.0000   10.5 ms  9.8 KiB  11.0 s   0/5  0.0 s",
        "4  20     fp16       ? lost",
        "5  20     int8       – not run",
    ]
    assert "failed 5: opset=18 precision=int8" in lines
    assert "  check: <b>wrong</b> by 0.5" in lines
    assert "  try: precision=fp16" in lines
    assert "  It never began." in lines
    assert "★ min latency: opset=18 precision=fp16" in lines
    assert (
        "6 jobs: 3 ok, 1 failed, 1 lost, 1 not run; 26.0 s of work, 10.0 s saved by sharing, 0.0 s by earlier runs"
        in lines
    )


def test_a_pull_requests_table_has_a_row_for_each_job_and_stays_one(sweep):
    nasty = replace(sweep.jobs[1], swept={"opset": "a|b", "precision": "<script>"})
    lines = tables.markdown(replace(sweep, jobs=(sweep.jobs[0], nasty))).splitlines()
    assert lines[1] == "| :-- | :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: |"
    assert lines[2].startswith("| 0 | 18 | fp32 | ✓ ok | 2.0e-07 | 0.9000 |")
    assert lines[3].startswith("| 1 | a\\|b | &lt;script> | ✓ ok ★ |")


def test_a_spreadsheet_has_plain_numbers(sweep):
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(sweep))))
    assert [float(r["latency"]) for r in rows if r["latency"]] == [8.0, 5.0, 10.5]
    assert (rows[0]["opset"], rows[0]["size"], rows[0]["error"]) == ("18", "4000", "2e-07")
    assert (rows[2]["status"], rows[2]["exit_code"], rows[2]["problem"]) == (
        "failed",
        "5",
        "check: <b>wrong</b> by 0.5",
    )
