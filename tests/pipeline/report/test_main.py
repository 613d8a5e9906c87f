"""`python -m pipeline.report`: what it writes, says and ends with."""

from pathlib import Path

import pytest
from command_line import run_module
from fake_sweep import write


def run(*args):
    return run_module("pipeline.report", [*map(str, args)], Path.cwd())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sweeps") / "one")


def test_it_writes_what_it_was_asked_for_and_says_where_the_page_is(folder, tmp_path):
    done = run(folder, "--csv", tmp_path / "a.csv", "--markdown", tmp_path / "a.md", "--select", "min size")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#  opset  precision  status")
    assert done.stdout.endswith(f"\n{folder}/report.html\n")
    assert (tmp_path / "a.csv").read_text().startswith("number,opset,precision,status,")
    assert "★ min size: opset=18 precision=fp16" in (tmp_path / "a.md").read_text()


def test_a_single_run_has_a_page_of_its_own(folder):
    done = run(folder / "0-small")
    assert (done.returncode, done.stdout) == (0, f"{folder}/0-small/report.html\n")
    assert "small → openvino" in (folder / "0-small" / "report.html").read_text()


def test_a_run_that_failed_has_its_problem_on_its_page(folder):
    assert run(folder / "2-small").returncode == 0
    page = (folder / "2-small" / "report.html").read_text()
    assert "check: &lt;b&gt;wrong&lt;/b&gt; by 0.5" in page
    assert "it has no record" in page


def test_two_runs_are_compared_on_a_page_of_their_own(folder, tmp_path):
    done = run(folder / "0-small", folder / "1-small", "--to", tmp_path / "both.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/both.html\n"), done.stderr
    page = (tmp_path / "both.html").read_text()
    assert "<span>~5.00 ms</span><small>noisy: spread 31%</small></td><td>noisy</td>" in page
    assert "<td><span>3.9 KiB</span></td><td><span>2.0 KiB</span></td><td>0.5×</td>" in page
    assert "export: bytes" not in page
    assert '<th scope="row">compile: bytes</th><td><div>d-a → d-b</div></td>' in page
    assert str(folder) not in page


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["{sweep}", "--select", "min latency where latency < 1"], 5, ""),
        (["{sweep}", "--select", "min speed"], 2, "speed is no metric"),
        (["{empty}"], 2, "holds no job of a sweep, and no run"),
        (["{empty}/none"], 2, "is no folder"),
        (["{sweep}/0-small", "--csv", "x"], 2, "is a single run's, which has no table"),
        (["{sweep}", "--csv", "{empty}/none/a.csv"], 2, "the report cannot be written"),
        (["{sweep}/0-small", "{sweep}"], 2, "holds no run.json of ours"),
        (["{sweep}/0-small", "{sweep}/1-small", "--csv", "x"], 2, "two runs have no table"),
        (["{sweep}", "--to", "x"], 2, "--to is for a comparison"),
        ([], 2, "usage:"),
    ],
)
def test_it_ends_with_the_exit_code_that_is_promised(folder, tmp_path, args, code, message):
    done = run(*(a.format(sweep=folder, empty=tmp_path) for a in args))
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
