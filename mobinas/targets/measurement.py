"""A measurement: the raw samples of one model file on one target, and what follows from them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from mobinas.errors import MeasurementError, did_you_mean
from mobinas.targets import Bindings, KernelTime, read_bindings, read_kernels
from mobinas.targets.resources import Reading, Resources, reading
from mobinas.targets.spread import block_values, interval
from mobinas.targets.target import Statistic
from mobinas.targets.verdict import REMEDIES, Verdict


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
        verdict: Other than ``steady`` where the latency should not be trusted; see `verdict_of`.
        reference_blocks_s: Seconds of the reference model, each right after the sample at the same place of
            `blocks_s`; empty if none ran.
        reference_level_s: What the reference model takes on this host; one value for all measurements that
            are to be compared. Needed where there are reference blocks.
        name: For people; no part of any comparison.
        bindings: Sizes that were given to open dimensions, by their names.
        kernels: The nodes that the runtime executed, in order, corrected for the machine's speed as
            the blocks are; empty where it does not tell.
        blocks_per_process: How many of the blocks, in their order, come from each process that measured;
            empty for a single one.
        clock_error: A tick of the clock, relative to the shortest sample.
        waited: Share of the time for which the measuring process was ready to run but had no CPU; 0 where the
            system does not tell.
        resources: What the model takes beside time, or why that is not known.

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
    bindings: Bindings = ()
    kernels: tuple[KernelTime, ...] = ()
    blocks_per_process: tuple[int, ...] = ()
    clock_error: float = 0.0
    waited: float = 0.0
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        for own in fields(self):
            if own.type in (str, "str") and not isinstance(getattr(self, own.name), str):
                raise MeasurementError(f"{own.name} is {getattr(self, own.name)!r}; it must be text")
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
        read_bindings(dict(self.bindings))
        counts = self.blocks_per_process
        if counts and not (
            all(type(n) is int and n > 0 for n in counts) and sum(counts) == len(self.blocks_s)
        ):
            raise MeasurementError(
                f"blocks_per_process is {counts}; it must add up to the {len(self.blocks_s)} blocks"
            )
        for key in ("clock_error", "waited"):
            share = getattr(self, key)
            if type(share) is not float or not 0 <= share < math.inf:
                raise MeasurementError(f"{key} is {share!r}; it must be 0 or more")
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
        """Each block's statistic in seconds, corrected for the machine's speed; see `block_values`."""
        return block_values(self.blocks_s, self.reference_blocks_s, self.reference_level_s, self.statistic)

    @property
    def interval_s(self) -> tuple[float, float]:
        """95 % interval of `median_s` in seconds, from resampling processes and whole blocks (fixed seed).

        Samples within a block share the machine's state, so resampling them would give far too narrow an
        interval. With fewer than three blocks of a single process it reaches over all samples. An error of
        the reference level would scale all latencies of a host alike, and is not in it.
        """
        ends_s = interval(self.block_values_s, self.blocks_per_process)
        values = (*self.samples_s, *self.block_values_s)
        return ends_s or (min(values), max(values))

    @property
    def p95_s(self) -> float:
        """The sample that 95 % of samples do not exceed, in seconds, as the clock showed it."""
        ordered = sorted(self.samples_s)
        return ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def images_per_s(self) -> Reading:
        """Throughput at `median_s`, or why it is not known."""
        images, reason = self.resources.images
        return Reading(None, reason) if images is None else reading(images / self.median_s)

    @property
    def remedy(self) -> str:
        """What to do about a measurement that is not to be trusted; empty for a steady one."""
        return REMEDIES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal measurement."""
        return {
            **asdict(self),
            "resources": self.resources.to_json(),
            "bindings": dict(self.bindings),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Measurement":
        """Reads what `to_json` wrote.

        Raises:
            MeasurementError: A field is missing, unknown or of a wrong type, or a rule is broken.
        """
        if not isinstance(data, Mapping):
            raise MeasurementError(f"a measurement is an object, not {type(data).__name__}")
        known = [own.name for own in fields(cls)]
        for key in data:
            if key not in known:
                raise MeasurementError(f"unknown measurement field '{key}'{did_you_mean(str(key), known)}")
        try:
            nested: dict[str, Any] = {
                key: tuple(tuple(block) for block in data[key])
                for key in ("blocks_s", "reference_blocks_s")
                if key in data
            }
            nested["blocks_per_process"] = tuple(data.get("blocks_per_process", ()))
            nested["resources"] = Resources.from_json(data.get("resources", {}))
            nested["bindings"] = read_bindings(data.get("bindings", {}))
            nested["kernels"] = read_kernels(data.get("kernels", ()))
            return cls(**{**data, **nested})
        except TypeError as error:
            raise MeasurementError(f"not a measurement: {error}") from None


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
