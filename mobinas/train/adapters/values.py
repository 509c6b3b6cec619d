"""Pixel values beyond 8 bits: one scale for a whole set, from the data's own range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.errors import DataError

Range = tuple[float, float]
BYTES: Range = (0.0, 255.0)
# What floats usually mean, each with the least span by which it is recognised.
_USUAL_OF_FLOATS: tuple[tuple[Range, float], ...] = (((0.0, 1.0), 0.5), ((-1.0, 1.0), 1.0), (BYTES, 128.0))
_TOPS_OF_BITS = tuple(float(2**bits - 1) for bits in (8, 10, 12, 14, 16))
# Single outliers are cut where they would cost the rest more than two of its eight bits.
_TOLERATED = 4.0
_FEW_DROPPED, _SHARE_DROPPED, _LARGEST_SHARE_DROPPED = 4, 1e-3, 0.02
_QUANTILES = np.linspace(0, 1, 65)
_SAMPLE = 4096
_LEAST_LEVELS, _LEAST_SHARE_OF_LEVELS = 8, 0.25


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of one image.

    Attributes:
        name: What messages call it.
        low: Smallest value.
        high: Largest value.
        core_low: Smallest value but for a handful of pixels.
        core_high: Likewise, the largest.
        levels: Distinct values among 65 quantiles.
        floating: Whether they are floats.
    """

    name: str
    low: float
    high: float
    core_low: float
    core_high: float
    levels: tuple[float, ...]
    floating: bool


def spread_of(values: npt.NDArray[Any], name: str) -> Spread:
    """The spread of one image's values, of any shape with at least one.

    Raises:
        DataError: A value is not finite.
    """
    flat = values.ravel()
    check_finite(flat, name)
    dropped = max(
        math.ceil(len(flat) * _SHARE_DROPPED), min(_FEW_DROPPED, int(len(flat) * _LARGEST_SHARE_DROPPED))
    )
    dropped = min(dropped, (len(flat) - 1) // 2)
    ends = np.partition(flat, (dropped, len(flat) - 1 - dropped))
    levels = np.quantile(flat[:: max(1, len(flat) // _SAMPLE)], _QUANTILES, method="nearest")
    return Spread(
        name,
        float(flat.min()),
        float(flat.max()),
        float(ends[dropped]),
        float(ends[len(flat) - 1 - dropped]),
        tuple(float(level) for level in np.unique(levels)),
        values.dtype.kind == "f",
    )


def check_finite(values: npt.NDArray[Any], name: str) -> None:
    """Refuses NaN and infinite values.

    Raises:
        DataError: With their number.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        n = int((~np.isfinite(values)).sum())
        raise DataError(
            f"{name} holds NaN or infinite values ({n} of {values.size}); replace them, or leave it out"
        )


def is_plain(low: float, high: float, floating: bool) -> bool:
    """Whether values need no look at each image: integers in 0 to 255, or floats that fill 0 to 1."""
    return low >= 0 and (high <= 1 and (high - low >= 0.5 or low == high) if floating else high <= 255)


def choose_range(
    spreads: Sequence[Spread], beside_bytes: bool = False, shaped: bool = False
) -> tuple[Range, tuple[str, ...]]:
    """The values that become 0 and 255, for all images of a set, and what a user should know of it.

    Integers in 0 to 255 stay as they are, floats that fill [0, 1], [-1, 1] or [0, 255] take that range; all
    others the data's own, without single outliers where these would leave few levels to the rest.

    Args:
        spreads: Of each image beyond 8 bits.
        beside_bytes: Whether other images of the set have 8 bits; unsigned integers then take the whole
            range of
            10, 12, 14 or 16 bits, so that both kinds stay comparable.
        shaped: Whether transparency tells images apart, so that one value may be all of what is visible.

    Raises:
        DataError: No one scale fits; the text names images and their ranges.
    """
    _check_kinds(spreads)
    low, high = min(s.low for s in spreads), max(s.high for s in spreads)
    cut_low, cut_high = _without_outliers(spreads)
    floating = any(s.floating for s in spreads)
    chosen = _usual(cut_low, cut_high, floating, beside_bytes)
    if chosen[0] == chosen[1] and shaped:
        chosen = _usual(cut_low, cut_high, floating, beside_bytes=True)
    if chosen[0] == chosen[1]:
        raise DataError(
            f"all pixels of {spreads[0].name} and all others are {low:g}; there is nothing to learn from"
        )
    notes = _clipping_note(spreads, low, high, chosen) + _levels_note(spreads, chosen)
    if chosen != BYTES or floating:
        words = "floats" if floating else "integers"
        notes = (
            f"pixels are {words} from {low:g} to {high:g}; {chosen[0]:g} becomes 0 and {chosen[1]:g} "
            f"becomes 255, "
            "one scale for all images",
            *notes,
        )
    return chosen, notes


def to_bytes(values: npt.NDArray[Any], value_range: Range) -> npt.NDArray[np.uint8]:
    """Maps values linearly so that the range becomes 0 to 255; what lies outside is clipped."""
    low, high = value_range
    if values.dtype == np.uint8 and value_range == BYTES:
        return values
    mapped = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(mapped).clip(0, 255).astype(np.uint8)


def _check_kinds(spreads: Sequence[Spread]) -> None:
    small = next((s for s in spreads if s.floating and s.core_high <= 1), None)
    large = next((s for s in spreads if not s.floating and s.core_high > 1), None)
    if small is not None and large is not None:
        raise DataError(
            f"{small.name} holds floats from {small.low:g} to {small.high:g}, {large.name} integers from "
            f"{large.low:g} to {large.high:g}; bring all images to one scale"
        )


def _without_outliers(spreads: Sequence[Spread]) -> Range:
    low, high = min(s.low for s in spreads), max(s.high for s in spreads)
    core_low, core_high = min(s.core_low for s in spreads), max(s.core_high for s in spreads)
    core = core_high - core_low
    if core <= 0 or high - low <= _TOLERATED * core:
        return low, high
    return (core_low if core_low - low > core else low, core_high if high - core_high > core else high)


def _usual(low: float, high: float, floating: bool, beside_bytes: bool) -> Range:
    if not floating:
        tops = _TOPS_OF_BITS if beside_bytes else _TOPS_OF_BITS[:1]
        return next(((0.0, top) for top in tops if low >= 0 and high <= top), (low, high))
    for usual, least_span in _USUAL_OF_FLOATS:
        if usual[0] <= low and high <= usual[1] and high - low >= least_span:
            return usual
    return low, high


def _clipping_note(spreads: Sequence[Spread], low: float, high: float, chosen: Range) -> tuple[str, ...]:
    if chosen[0] <= low and high <= chosen[1]:
        return ()
    far = max(spreads, key=lambda s: max(chosen[0] - s.low, s.high - chosen[1]))
    value = far.low if chosen[0] - far.low > far.high - chosen[1] else far.high
    return (
        f"single pixels outside of {chosen[0]:g} to {chosen[1]:g}, such as {value:g} in {far.name}, "
        f"are taken for "
        "outliers and clipped",
    )


def _levels_note(spreads: Sequence[Spread], chosen: Range) -> tuple[str, ...]:
    """What one scale costs the images that fill little of it; most of them may not lose their levels."""
    poor = [s for s in spreads if _loses_levels(s, chosen)]
    if not poor:
        return ()
    names = f"{poor[0].name} ({poor[0].low:g} to {poor[0].high:g})"
    if 2 * len(poor) > len(spreads):
        widest = max(spreads, key=lambda s: s.core_high - s.core_low)
        lowest, highest = min(spreads, key=lambda s: s.core_low), max(spreads, key=lambda s: s.core_high)
        odd = next((s for s in (highest, lowest, widest) if s not in poor), highest)
        raise DataError(
            f"no one scale fits the pixels: from {chosen[0]:g} to {chosen[1]:g}, because of {odd.name} "
            f"({odd.low:g} to {odd.high:g}), {len(poor)} of {len(spreads)} images such as {names} "
            f"keep only a few "
            "levels; leave such images out, or bring all to one scale of 8 bits"
        )
    return (f"{len(poor)} images such as {names} fill little of that scale and keep only a few levels",)


def _loses_levels(spread: Spread, chosen: Range) -> bool:
    had = len(spread.levels)
    kept = len(np.unique(to_bytes(np.array(spread.levels), chosen)))
    return had >= _LEAST_LEVELS and kept < had * _LEAST_SHARE_OF_LEVELS
