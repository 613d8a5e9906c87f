"""The best job by a rule."""

import pytest
from fake_sweep import write

from pipeline.errors import ConfigError
from pipeline.report.collect import collect
from pipeline.report.select import Rule


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return collect(write(tmp_path_factory.mktemp("sweeps") / "one"))


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        ("min latency", 1),
        ("min latency where drop <= 0.001", 0),
        ("min latency where drop≤0.002", 1),
        ("max latency", 3),
        ("min error", 3),
        ("max accuracy", 0),  # of two as good, the first
        ("min size where error < 1e-5 and latency < 9", 0),
        ("min size where latency >= 8 and size > 4000", 3),
        ("max size where size ≥ 4000 and size < 10000", 0),
        ("min seconds", 1),  # the one that failed took less
        ("min seconds where latency < 1", None),
    ],
)
def test_a_rule_chooses_among_the_jobs_that_ended_well(sweep, rule, number):
    assert Rule.read(rule).applied(sweep).best.number == number


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "allowed: min|max METRIC"),
        ("latency", "does not begin with min or max"),
        ("least latency", "does not begin with min or max"),
        ("min latncy", "latncy is no metric, did you mean 'latency'?\n  allowed: error, accuracy"),
        ("min latency if drop < 1", "allowed: min|max METRIC"),
        ("min latency where", "a condition is not METRIC OP NUMBER"),
        ("min latency where drop <", "a condition is not METRIC OP NUMBER"),
        ("min latency where drop = 1", "= compares nothing\n  allowed: <= >= < >"),
        ("min latency where drop < little", "little is no number"),
        ("min latency where drop < nan", "nan is no number"),
        ("min latency where drop < 1 and", "one is not joined by and"),
        ("min latency where drop < 1 or size < 3", "conditions are joined by or"),
        ("min latency where drop < 1 size < 3", "a condition is not METRIC OP NUMBER"),
    ],
)
def test_a_rule_that_cannot_be_read_says_what_is_allowed(rule, message):
    with pytest.raises(ConfigError) as raised:
        Rule.read(rule)
    assert message in str(raised.value)
