import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.errors import MeasurementError
from mobinas.targets import KernelTime
from mobinas.targets.measurement import Measurement, check_compatible

SECONDS = st.floats(1e-6, 10.0)
BLOCKS = st.lists(st.lists(SECONDS, min_size=1, max_size=5).map(tuple), min_size=1, max_size=6).map(tuple)
PLAIN = Measurement("s", "f", "t", "h", "r", ((1.0, 2.0, 3.0), (4.0,)), 5, "2026-01-01T00:00:00+00:00")


@given(BLOCKS)
def test_json_round_trip(blocks: tuple[tuple[float, ...], ...]) -> None:
    m = replace(PLAIN, blocks_s=blocks, reference_blocks_s=blocks, reference_level_s=0.5)
    assert Measurement.from_json(json.loads(json.dumps(m.to_json()))) == m


@given(BLOCKS)
def test_median_lies_in_its_interval_and_among_the_samples(blocks: tuple[tuple[float, ...], ...]) -> None:
    m = replace(PLAIN, blocks_s=blocks)
    low, high = m.interval_s
    assert min(m.samples_s) <= low <= m.median_s <= high <= max(m.samples_s)
    assert m.p95_s in m.samples_s


def test_statistics_by_hand() -> None:
    assert PLAIN.median_s == 3.0  # of the medians 2 and 4
    assert replace(PLAIN, statistic="minimum").median_s == 2.5
    assert PLAIN.p95_s == 4.0
    assert PLAIN.interval_s == (1.0, 4.0)


@given(st.lists(st.floats(0.2, 5.0), min_size=3, max_size=8))
def test_the_reference_takes_out_the_speed_of_the_machine(speeds: list[float]) -> None:
    blocks = tuple((2.0 * s, 3.0 * s) for s in speeds)
    reference = tuple((1.0 * s, 1.5 * s) for s in speeds)
    m = replace(PLAIN, blocks_s=blocks, reference_blocks_s=reference, reference_level_s=0.25)
    assert math.isclose(m.median_s, 0.5)
    assert math.isclose(m.interval_s[0], m.interval_s[1])


KERNEL = KernelTime("Conv", ((1, 3, 8, 8), (4, 3, 1, 1)), (1, 4, 8, 8), True, 1e-5)


def test_kernels_are_kept_and_old_logs_have_none() -> None:
    m = replace(PLAIN, kernels=(KERNEL, KERNEL._replace(op="Add", output=())))
    assert Measurement.from_json(json.loads(json.dumps(m.to_json()))) == m
    old = {key: value for key, value in PLAIN.to_json().items() if key != "kernels"}
    assert Measurement.from_json(old) == PLAIN


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": math.nan},
        {"seconds": math.inf},
        {"seconds": -1e-9},
        {"seconds": 1},
        {"output": (1.0,)},
        {"output": (-1,)},
        {"inputs": (("batch", 3),)},
        {"inputs": 3},
        {"op": None},
        {"blocked": 1},
    ],
)
def test_broken_kernels_are_refused(change: dict) -> None:
    broken = json.loads(json.dumps(KERNEL._replace(**change)))
    with pytest.raises(MeasurementError, match="kernel"):
        Measurement.from_json({**PLAIN.to_json(), "kernels": [broken]})


def test_interval_resamples_blocks_not_samples() -> None:
    # A thousand samples in three blocks that disagree: the interval spans the blocks.
    blocks = tuple((x,) * 333 for x in (1.0, 2.0, 3.0))
    assert replace(PLAIN, blocks_s=blocks).interval_s == (1.0, 3.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0, 1, "1"])
def test_samples_must_be_finite_and_positive(bad: object) -> None:
    with pytest.raises(MeasurementError, match="finite and above 0"):
        replace(PLAIN, blocks_s=((1.0, bad),))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"blocks_s": ()}, "at least one block"),
        ({"blocks_s": ((),)}, "at least one block"),
        ({"reference_blocks_s": ((1.0,),), "reference_level_s": 1.0}, "pair up"),
        ({"reference_blocks_s": ((1.0, 1.0, 1.0), (1.0,))}, "reference level"),
        ({"verdict": "fine"}, "verdict"),
        ({"host": None}, "host"),
        ({"warmup_samples": -1}, "warmup_samples"),
        ({"blocks_per_process": (1, 2)}, "blocks_per_process"),
        ({"blocks_per_process": (2, 0)}, "blocks_per_process"),
        ({"clock_error": -0.1}, "clock_error"),
        ({"waited": math.nan}, "waited"),
    ],
)
def test_broken_rules_are_named(change: dict, text: str) -> None:
    with pytest.raises(MeasurementError, match=text):
        replace(PLAIN, **change)


@pytest.mark.parametrize("data", [None, [], {"blocks_s": 1}, {"hots": "x"}, {"blocks_s": [[1.0]]}])
def test_other_data_are_refused(data: object) -> None:
    with pytest.raises(MeasurementError):
        Measurement.from_json(data)


@pytest.mark.parametrize("key", ["target_fingerprint", "host", "runtime_version"])
def test_different_settings_do_not_mix(key: str) -> None:
    check_compatible([PLAIN, replace(PLAIN, file_sha256="other")])
    with pytest.raises(MeasurementError, match=key):
        check_compatible([PLAIN, replace(PLAIN, **{key: "other"})])
