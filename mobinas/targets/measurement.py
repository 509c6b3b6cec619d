"""A measurement: the raw samples of one model file on one target, and what follows from them."""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, Literal, get_args

from mobinas.errors import MeasurementError, did_you_mean
from mobinas.targets import KernelTime, block_statistic, read_kernels
from mobinas.targets.target import Statistic

Verdict = Literal["steady", "unstable"]

# Fewer blocks than this say nothing about how blocks differ; the range of the samples stands in then.
_MIN_BLOCKS_TO_RESAMPLE = 3
_RESAMPLES = 2000
_INTERVAL = 0.95


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was seen when one model file ran on one target; medians and intervals are derived, never stored.

    Attributes:
        structure_digest: Of the model's graph without its weights.
        file_sha256: Of the very file (or bytes) that ran.
        target_fingerprint: Of the settings, see `Target.fingerprint`.
        host: The machine, with its CPU.
        runtime_version: Of what executed the model.
        blocks_s: Seconds per inference, in blocks that lie apart in time.
        statistic: What stands for a block, from the target.
        warmup_samples: Inferences before the first sample.
        started_at: ISO 8601, UTC.
        verdict: ``unstable`` where the blocks disagree so much that the latency should not be trusted.
        reference_blocks_s: Seconds of the reference model, each right after the sample at the same place of
            `blocks_s`; empty if none ran.
        reference_level_s: What the reference model takes on this host; one value for all measurements that
            are to be compared. Needed where there are reference blocks.
        name: For people; no part of any comparison.
        kernels: The nodes that the runtime executed, in order, corrected for the machine's speed as
            the blocks are; empty where it does not tell.

    Raises:
        MeasurementError: No samples, or one that is not finite and positive, or blocks that do not pair up.
    """

    structure_digest: str
    file_sha256: str
    target_fingerprint: str
    host: str
    runtime_version: str
    blocks_s: tuple[tuple[float, ...], ...]
    warmup_samples: int
    started_at: str
    statistic: Statistic = "median"
    verdict: Verdict = "steady"
    reference_blocks_s: tuple[tuple[float, ...], ...] = ()
    reference_level_s: float | None = None
    name: str = ""
    kernels: tuple[KernelTime, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type in (str, "str") and not isinstance(getattr(self, field.name), str):
                raise MeasurementError(f"{field.name} is {getattr(self, field.name)!r}; it must be text")
        if not self.blocks_s or not all(self.blocks_s):
            raise MeasurementError("a measurement needs at least one block of at least one sample")
        level_s = () if self.reference_level_s is None else (self.reference_level_s,)
        references_s = tuple(s for block in self.reference_blocks_s for s in block)
        for seconds in (*self.samples_s, *references_s, *level_s):
            if type(seconds) is not float or not math.isfinite(seconds) or seconds <= 0:
                raise MeasurementError(f"a sample is {seconds!r}; samples must be finite and above 0 seconds")
        lengths = [len(block) for block in self.reference_blocks_s]
        if lengths and (lengths != [len(block) for block in self.blocks_s] or not level_s):
            raise MeasurementError(
                "reference blocks must pair up with the blocks, and need a reference level"
            )
        read_kernels(self.kernels)
        if type(self.warmup_samples) is not int or self.warmup_samples < 0:
            raise MeasurementError(f"warmup_samples is {self.warmup_samples!r}; it must be 0 or more")
        for key, choices in (("verdict", Verdict), ("statistic", Statistic)):
            if getattr(self, key) not in get_args(choices):
                raise MeasurementError(
                    f"{key} is {getattr(self, key)!r}, not one of {list(get_args(choices))}"
                )

    @property
    def samples_s(self) -> tuple[float, ...]:
        """All samples, in seconds."""
        return tuple(seconds for block in self.blocks_s for seconds in block)

    @property
    def median_s(self) -> float:
        """The latency in seconds: the median over `block_values_s`."""
        return statistics.median(self.block_values_s)

    @property
    def block_values_s(self) -> tuple[float, ...]:
        """Each block's statistic in seconds, corrected for the machine's speed at that moment.

        With a reference, a block counts as the ratio of its fastest sample to the reference's fastest one,
        times the reference level: disturbances only add time, so the fastest samples tell the ratio best.
        Between two measurements of 120 networks on a machine with three times more work than cores, raw
        medians differed by 25 % (standard deviation), medians of paired ratios by 12 %, these by 8 %.
        """
        if not self.reference_blocks_s or self.reference_level_s is None:
            return tuple(block_statistic(block, self.statistic) for block in self.blocks_s)
        pairs = zip(self.blocks_s, self.reference_blocks_s, strict=True)
        return tuple(self.reference_level_s * min(block) / min(reference) for block, reference in pairs)

    @property
    def interval_s(self) -> tuple[float, float]:
        """95 % interval of `median_s` in seconds, from resampling whole blocks (fixed seed).

        Samples within a block share the machine's state, so resampling them would give far too narrow an
        interval. With fewer than three blocks it reaches over all samples. An error of the reference level
        would scale all latencies of a host alike, and is not in it.
        """
        if len(self.blocks_s) < _MIN_BLOCKS_TO_RESAMPLE:
            values = (*self.samples_s, *self.block_values_s)
            return min(values), max(values)
        return _resampled_interval(self.block_values_s)

    @property
    def p95_s(self) -> float:
        """The sample that 95 % of samples do not exceed, in seconds, as the clock showed it."""
        ordered = sorted(self.samples_s)
        return ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def remedy(self) -> str:
        """What to do about an unstable measurement; empty for a steady one."""
        if self.verdict == "steady":
            return ""
        return "stop other programs, fix the CPU's frequency or affinity, and measure with more rounds"

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal measurement."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> "Measurement":
        """Reads what `to_json` wrote.

        Raises:
            MeasurementError: A field is missing, unknown or of a wrong type, or a rule is broken.
        """
        if not isinstance(data, Mapping):
            raise MeasurementError(f"a measurement is an object, not {type(data).__name__}")
        known = [field.name for field in fields(cls)]
        for key in data:
            if key not in known:
                raise MeasurementError(f"unknown measurement field '{key}'{did_you_mean(str(key), known)}")
        try:
            nested: dict[str, Any] = {
                key: tuple(tuple(block) for block in data[key])
                for key in ("blocks_s", "reference_blocks_s")
                if key in data
            }
            nested["kernels"] = read_kernels(data.get("kernels", ()))
            return cls(**{**data, **nested})
        except TypeError as error:
            raise MeasurementError(f"not a measurement: {error}") from None


@lru_cache(maxsize=4096)
def _resampled_interval(values: tuple[float, ...]) -> tuple[float, float]:
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    tail = round((1 - _INTERVAL) / 2 * _RESAMPLES)
    return medians[tail], medians[-1 - tail]


def check_compatible(measurements: Sequence[Measurement]) -> None:
    """Refuses a set that mixes targets, hosts or runtime versions.

    Raises:
        MeasurementError: Two measurements differ in one of these; the text names both values.
    """
    for key in ("target_fingerprint", "host", "runtime_version"):
        values = sorted({str(getattr(m, key)) for m in measurements})
        if len(values) > 1:
            raise MeasurementError(
                f"measurements of different {key} do not mix: '{values[0]}' and '{values[1]}'; "
                "measure all models again on one of them"
            )
