"""Which measurements are to be trusted, and intervals over processes."""

import json
import random
import statistics
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.targets.measurement import Measurement
from mobinas.targets.spread import half_width, interval
from mobinas.targets.verdict import REMEDIES, TRUSTED_HALF_WIDTH, Verdict, trend_of, verdict_of

PLAIN = Measurement("s", "f", "t", "h", "r", ((1.0,),), 5, "2026-01-01T00:00:00+00:00")
SECONDS = st.floats(0.5, 2.0) | st.floats(0.98, 1.02)


def seen(blocks: list[float], references: list[float], processes: int = 2, **more: float) -> Measurement:
    counts = tuple(len(blocks) // processes for _ in range(processes))
    return replace(
        PLAIN,
        blocks_s=tuple((s,) for s in blocks),
        reference_blocks_s=tuple((s,) for s in references),
        reference_level_s=1.0,
        blocks_per_process=counts,
        **more,
    )


@given(
    st.lists(st.tuples(SECONDS, SECONDS), min_size=4, max_size=12).filter(lambda pairs: len(pairs) % 2 == 0),
    st.sampled_from((0.0, 0.001, 0.02)),
    st.sampled_from((0.0, 0.01, 0.2)),
)
def test_a_wide_interval_is_never_steady(pairs: list[tuple[float, float]], tick: float, wait: float) -> None:
    m = seen([a for a, _ in pairs], [b for _, b in pairs], clock_error=tick, waited=wait)
    verdict = verdict_of(m)
    low, high = m.interval_s
    assert low <= m.median_s <= high
    if (high - low) / 2 > TRUSTED_HALF_WIDTH * m.median_s:
        assert verdict != "steady"
    if verdict == "steady":
        assert tick < 0.01 and wait < 0.05


def test_each_verdict_has_its_cause_and_remedy() -> None:
    slowing = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    cases: dict[Verdict, Measurement] = {
        "steady": seen([1.0] * 6, [1.0] * 6),
        "unstable": seen([1.0, 1.5] * 3, [1.0] * 6),
        "throttling": seen(slowing, slowing),
        "coarse_clock": seen([1.0] * 6, [1.0] * 6, clock_error=0.05),
    }
    assert {verdict: verdict_of(m) for verdict, m in cases.items()} == {v: v for v in get_args(Verdict)}
    assert verdict_of(seen([1.0] * 6, [1.0] * 6, waited=0.3)) == "unstable"
    assert verdict_of(seen(slowing, slowing, waited=0.3)) == "unstable"  # another program began
    assert verdict_of(seen(slowing[::-1], slowing[::-1])) == "steady"  # warming up is none
    assert len({REMEDIES[v] for v in get_args(Verdict)}) == 4
    assert replace(PLAIN, verdict="throttling").remedy == REMEDIES["throttling"]


def test_one_odd_block_is_no_trend() -> None:
    rise, pairs = trend_of([1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0])
    assert rise == 0.0 and pairs < 0.5
    rise, pairs = trend_of([1.0, 1.1, 1.2, 0.5, 1.4, 1.5, 1.6])
    assert rise == pytest.approx(0.6 / 1.2) and pairs > 0.7
    assert trend_of([1.0, 2.0, 3.0, 4.0]) == (0.0, 0.0)


def test_two_processes_that_disagree_are_both_in_the_interval() -> None:
    # Each steady in itself: blocks alone would give a narrow interval around the middle.
    values = (1.0,) * 4 + (1.2,) * 4
    low, high = interval(values, (4, 4)) or (0.0, 0.0)
    assert low < 1.0 and high > 1.2
    more = interval(values * 4, (4,) * 8) or (0.0, 0.0)
    assert high - low > more[1] - more[0]


def test_the_interval_holds_a_repeat() -> None:
    rng = random.Random(5)

    def measured() -> tuple[float, ...]:
        processes = [rng.gauss(1.0, 0.02) for _ in range(4)]
        return tuple(rng.gauss(own, 0.02) for own in processes for _ in range(3))

    held = 0
    for _ in range(60):  # of which nine in ten are expected
        ends, repeat = interval(measured(), (3,) * 4), statistics.median(measured())
        assert ends is not None and half_width(1.0, ends) < 0.15
        held += ends[0] <= repeat <= ends[1]
    assert held >= 53


def test_json_keeps_processes_and_shares() -> None:
    m = seen([1.0] * 6, [1.0] * 6, processes=3, clock_error=0.25, waited=0.5)
    assert Measurement.from_json(json.loads(json.dumps(m.to_json()))) == m
