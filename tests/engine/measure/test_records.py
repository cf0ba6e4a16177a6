import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.measure.records import same_points, sample, surely_lighter
from tests.engine.measure.samples import BUSY, benchmark, point


def test_a_sample_has_students_interval() -> None:
    found = sample([10.0, 11.0, 12.0])
    assert found is not None
    half = 4.303 * 1.0 / math.sqrt(3)
    assert found.median == 11.0
    assert found.low == pytest.approx(11 - half)
    assert found.high == pytest.approx(11 + half)
    assert not found.tight


def test_what_is_unknown_is_left_out() -> None:
    assert sample([None, math.nan, math.inf]) is None
    once = sample([None, 3.0])
    assert once is not None
    assert (once.median, once.low, once.high, once.tight) == (3.0, None, None, False)


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=40))
def test_the_mean_lies_in_the_interval_and_equal_values_are_sure(values: list[float]) -> None:
    found = sample(values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    mean = sum(values) / len(values)
    assert found.low <= mean * (1 + 1e-9)
    assert found.high >= mean * (1 - 1e-9)
    again = sample([values[0]] * 3)
    assert again is not None
    assert again.tight


def test_benchmarks_are_compared_at_the_longest_usual_prompt_that_both_have() -> None:
    one = benchmark(points=(point(130, 600, 100), point(520, 600, 100), point(2040, 600, 90)))
    other = benchmark(points=(point(128, 600, 100), point(512, 600, 100)))
    points = same_points(one, other)
    assert points is not None
    assert [one.prompt_tokens for one in points] == [520, 512]
    assert same_points(one, benchmark(points=(point(40, 600, 100),))) is None
    assert same_points(benchmark(points=(point(2000, 600, 90),)), one) is not None


def test_lighter_is_sure_only_beyond_all_spread() -> None:
    fast, slow = benchmark(decode=120.0, peak_mib=100), benchmark(decode=100.0, peak_mib=200)
    assert surely_lighter(fast, slow)
    assert not surely_lighter(slow, fast)
    assert not surely_lighter(benchmark(decode=120.0, peak_mib=200), slow)
    assert not surely_lighter(benchmark(peak_mib=100, points=(point(512, 700, 120, noise=0.5),)), slow)
    assert not surely_lighter(msgspec.structs.replace(fast, conditions=BUSY), slow)
