"""A sweep's folder, read: how each job ended, what it measured, what it took and what it need not do."""

import json

import pytest
from fake_sweep import BASE, FakeSweep, finished, outcome, write

from pipeline.errors import ConfigError
from pipeline.report import tables
from pipeline.report.collect import collect
from pipeline.report.page import html
from pipeline.report.select import Rule
from pipeline.running.outcome import Result
from pipeline.runs.manifest import RunManifest


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return collect(write(tmp_path_factory.mktemp("sweeps") / "one"))


def test_every_job_says_how_it_ended(sweep):
    ended = [(j.swept["opset"], j.swept["precision"], j.status, j.exit_code) for j in sweep.jobs]
    assert ended == [
        ("18", "fp32", "ok", 0),
        ("18", "fp16", "ok", 0),
        ("18", "int8", "failed", 5),
        ("20", "fp32", "ok", 0),
        ("20", "fp16", "lost", None),
        ("20", "int8", "not run", None),
    ]
    assert sweep.counts == {"ok": 3, "failed": 1, "lost": 1, "not run": 1}


def test_a_job_says_what_was_measured_of_what_it_delivered(sweep):
    first = sweep.jobs[0]
    assert (first.error, first.accuracy, first.metric, first.drop) == (2e-7, 0.9, "top1", 0.0)
    assert (first.latency, first.noisy, first.size) == (8.0, False, 4000)
    assert (sweep.jobs[1].noise, sweep.jobs[1].speedup, first.speedup) == ("spread 31%", None, 3.0)


def test_a_language_model_has_its_perplexity_in_columns_and_rules(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    for ratio in (1.2, 1.02):
        figures = {"value": 10 * ratio, "of_the_model": 10.0, "ratio": ratio, "kl": 0.01, "agreement": 0.9}
        outcomes = [outcome("perplexity", "built", 1, "k", "d", perplexity=figures)]
        outcomes += [outcome("save", "delivered", 0, "s", "d")]
        sweep.job(f"precision={ratio}").finish(Result(outcomes, tmp_path / "x"))
    collected = collect(sweep.listed())
    figures = [(j.perplexity, j.ratio, j.kl, j.agreement) for j in collected.jobs]
    assert figures == [(12.0, 1.2, 0.01, 0.9), (10.2, 1.02, 0.01, 0.9)]
    assert "perplexity   ratio       kl  top-1" in tables.terminal(collected)
    assert Rule.read("min size where ratio <= 1.05").best(collected) == collected.jobs[1]


def test_a_check_of_something_else_than_what_was_delivered_is_not_its_error(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    parity = {"parity": {"against": "it", "cases": [{"shape": "1", "max_rel": 0.5}]}}
    outcomes = [outcome("check", "built", 1, "k", "another", **parity), outcome("save", "delivered", 0, "s", "this")]
    sweep.job("opset=18").finish(Result(outcomes, tmp_path / "x"))
    assert collect(sweep.listed()).jobs[0].error is None


def test_what_could_not_be_compared_says_why(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    notes = {"unchecked": {"against": "TensorFlow", "why": "it is not installed", "cases": []}}
    outcomes = [outcome("check", "built", 1, "k", "d", **notes), outcome("save", "delivered", 0, "s", "d")]
    sweep.job("opset=18").finish(Result(outcomes, tmp_path / "x"))
    assert collect(sweep.listed()).jobs[0].unchecked == "it is not installed"


def test_time_is_told_apart_by_who_spent_it(sweep):
    assert (sweep.jobs[1].seconds, sweep.jobs[1].saved, sweep.jobs[1].hits, sweep.jobs[1].stored) == (4.0, 7.0, 2, 5)
    export = sweep.spent["export"]
    assert (export.built, export.shared, export.earlier) == (6.0, 6.0, 0.0)


def test_what_no_job_of_this_sweep_built_comes_from_an_earlier_run(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    sweep.job("opset=18").finish(finished("hit", "a", "18", 1e-7, size=1))
    total = collect(sweep.listed()).total
    assert (total.built, total.shared, total.earlier) == (4.0, 0.0, 7.0)


def test_a_failed_job_has_its_first_problem_and_the_command_that_repeats_it_alone(sweep):
    failed = sweep.jobs[2]
    assert (failed.problem, failed.advice) == ("check: <b>wrong</b> by 0.5", "precision=fp16")
    assert failed.command == "python -m pipeline model=small 'store=/a store' opset=18 precision=int8"


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (("-m", *BASE, "opset=18,20"), "model=small 'store=/a store' opset=18"),
        (
            ("--multirun", "--config-dir", "mine", "opset=18,20"),
            "--config-dir mine model=small 'store=/a store' opset=18",
        ),
        (("-m", "hydra.sweep.dir=x", "hydra/launcher=pool", "opset=18,20"), "model=small 'store=/a store' opset=18"),
        (("sweep=all",), "model=small 'store=/a store' sweep=all opset=18 hydra.mode=RUN"),
    ],
)
def test_the_command_of_one_job_leaves_out_what_made_it_a_sweep(tmp_path, typed, command):
    sweep = FakeSweep(tmp_path / "one")
    more = tuple(a for a in typed if a.startswith("sweep="))
    sweep.skip("opset=18", base=(*BASE, *more))
    (job,) = collect(sweep.listed({"opset": ["18", "20"]}, ("pipeline", *typed))).jobs
    assert job.command == f"python -m pipeline {command}"


def test_a_key_that_the_sweep_adds_is_an_axis_like_any_other(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    sweep.skip("+extra=1")
    sweep.skip("+extra=[2,3]")
    collected = collect(sweep.listed({"+extra": ["1", "[2, 3]"]}))
    assert collected.axes == {"extra": ("1", "[2,3]")}
    assert [j.name for j in collected.jobs] == ["extra=1", "extra=[2,3]"]


def test_an_older_sweep_is_read_from_its_jobs_folders(tmp_path):
    sweep = FakeSweep(tmp_path / "one")
    for i in range(11):
        job = sweep.job(f"opset={10 + i}", "precision=fp32")
        hydra = job.path.parent / ".hydra"
        hydra.mkdir()
        (hydra / "overrides.yaml").write_text(json.dumps([*BASE, f"opset={10 + i}", "precision=fp32"]))
        job.finish(finished("built", "a", "18", 1e-7, size=1))
    collected = collect(tmp_path / "one")
    assert collected.axes == {"opset": tuple(str(10 + i) for i in range(11))}
    assert [j.folder for j in collected.jobs][8:] == ["8-small", "9-small", "10-small"]


@pytest.mark.parametrize("content", ["", "[]", '{"stages": 3}', '{"status": "ok", "stages": []}'])
def test_a_run_json_that_is_not_ours_is_a_job_that_never_said_how_it_ended(tmp_path, content):
    sweep = FakeSweep(tmp_path / "one")
    sweep.job("opset=18").path.write_text(content)
    assert [j.status for j in collect(sweep.listed()).jobs] == ["lost"]


def test_machines_and_versions_are_told_once(sweep):
    assert len(sweep.machines) == 1
    assert sweep.git == {"commit": "c0ffee", "branch": "main", "dirty": False}
    assert sweep.versions["hydra-core"].count(".") == 2


def run_in(folder, *typed, program="pipeline/__main__.py", overrides=None):
    """A run that somebody typed by itself."""
    manifest = RunManifest(folder / "run.json", typed if overrides is None else overrides, {"model": "small"})
    manifest._content["command"] = [program, *typed]
    manifest.note_configuration({"seed": 0, "model": {"name": "small"}, "target": {"name": "openvino"}}, None)
    return manifest


def test_each_of_several_runs_has_its_own_command_and_a_plan_is_not_done(tmp_path):
    run_in(tmp_path / "day" / "1-a", "target=onnx", "plan=true").only_planned()
    run_in(
        tmp_path / "day" / "2-b", "--config-dir", "mine", "opset=17", "hydra.run.dir=x", overrides=["opset=17"]
    ).fail(None, 130)
    run_in(tmp_path / "other" / "3-c", "-m", "opset=18,20", overrides=["opset=18"]).fail(ConfigError("no"), 2)
    run_in(tmp_path / "other" / "4-d", "--epochs", "3", program="train.py", overrides=["model=live"]).only_planned()
    collected = collect(tmp_path)
    assert [(j.folder, j.status, j.command.removeprefix("python -m pipeline ")) for j in collected.jobs] == [
        ("day/1-a", "planned", "target=onnx plan=true"),
        ("day/2-b", "interrupted", "--config-dir mine opset=17"),
        ("other/3-c", "failed", "opset=18"),
        ("other/4-d", "planned", "model=live"),
    ]
    assert (collected.counts, collected.command) == ({"planned": 2, "failed": 1, "interrupted": 1}, ())
    assert "target=onnx plan=true" not in tables.terminal(collected)
    assert "○ planned" in tables.terminal(collected)


def test_a_page_of_runs_with_many_axes_draws_no_grid_of_empty_cells(tmp_path):
    for n in range(6):
        run_in(tmp_path / str(n), *(f"key{k}={n}" for k in range(6))).only_planned()
    assert 'class="grid"' not in html(collect(tmp_path))
