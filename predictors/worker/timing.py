"""Times inferences of onnxruntime sessions, each sample in turns with a reference model."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mobinas.runtime import SessionSettings, example_feeds
from predictors.worker.rounds import Block

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnxruntime

# A sample spans this many ticks of the clock, so that rounding to a tick stays below 0.1 %.
_TICKS_PER_SAMPLE = 1000
_MIN_SAMPLE_S, _MAX_SAMPLE_S = 100e-6, 0.25
_TICKS_SEEN = 10
_PAIRS_PER_BLOCK = (5, 60)
_MAX_REFERENCE_RUNS = 8
# Of a session that is new, or whose caches other models took since the last block.
_SETTLING_RUNS = 3
# After models of up to 10 ms the reference model, of 80 us on a core with 2 MB of cache, took 1.05 times as
# long after three runs as it does alone, and within 1 % after ten.
_REFERENCE_SETTLING_RUNS = 10
_BLOCKS_PER_SESSION = 2
_WARMUP_WINDOW = 3
_WARMUP_LIMIT_S = 0.1
_STATIONARY = 0.05


class Stopwatch:
    """Times inferences of one session on seeded inputs."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        target: SessionSettings,
        seed: int,
        clock: Callable[[], float] = time.perf_counter,
        tick_s: float | None = None,
    ) -> None:
        """Prepares inputs; runs nothing yet.

        Args:
            session: What to time.
            target: For the batch.
            seed: Of the inputs.
            clock: Seconds, monotonic.
            tick_s: The clock's resolution; by default what it shows.
        """
        self._session = session
        self._feeds: dict[str, npt.NDArray[Any]] = example_feeds(session, target.batch, seed)
        self._clock = clock
        self.tick_s = tick_of(clock) if tick_s is None else tick_s
        self.once_s = self.tick_s

    def time(self, runs: int) -> float:
        """Seconds per inference over this many; never below the clock's resolution."""
        run, feeds, clock = self._session.run, self._feeds, self._clock
        start = clock()
        for _ in range(runs):
            run(None, feeds)
        return max(clock() - start, self.tick_s) / runs

    def warm_up(self) -> int:
        """Runs until two windows of inferences agree within 5 %, for at most a tenth of a second.

        Returns:
            The number of inferences; `once_s` holds the last window's median.
        """
        windows: list[float] = []
        start = self._clock()
        while True:
            windows.append(statistics.median(self.time(1) for _ in range(_WARMUP_WINDOW)))
            stationary = len(windows) > 2 and abs(windows[-1] / windows[-2] - 1) < _STATIONARY
            if stationary or self._clock() - start > _WARMUP_LIMIT_S:
                break
        self.once_s = windows[-1]
        return _WARMUP_WINDOW * len(windows)


def tick_of(clock: Callable[[], float]) -> float:
    """The smallest step in seconds that a clock is seen to make, never below 1 ns."""
    steps: list[float] = []
    last = clock()
    while len(steps) < _TICKS_SEEN:
        now = clock()
        if now > last:
            steps.append(now - last)
            last = now
    return max(min(steps), 1e-9)


class SessionTimer:
    """Times a model in turns with the reference model; a `PairTimer`."""

    def __init__(
        self,
        model: Stopwatch,
        reference: Stopwatch,
        block_s: float,
        renewed: Callable[[], Stopwatch] | None = None,
    ) -> None:
        """Prepares; runs nothing yet.

        Which pages of memory a session happens to get changes its latency for as long as it is open: some
        networks of 2 to 10 ms took a fifth less in one session of three, on a core with 2 MB of cache. So
        every other block has a new session.

        Args:
            model: What to time.
            reference: The reference model, warmed up.
            block_s: Length of a block in seconds.
            renewed: Opens the model anew; by default its one session times all blocks.
        """
        self._model = model
        self._renewed = renewed
        self._blocks = 0
        self._reference = reference
        self._block_s = block_s
        self._runs = self._reference_runs = 1
        self._pairs = _PAIRS_PER_BLOCK[0]
        self.clock_error = self._once_s = 0.0

    @property
    def once_s(self) -> float:
        """Seconds of one inference, roughly, after the warm-up."""
        return self._once_s

    def run(self, runs: int) -> None:
        """Runs the model that often."""
        self._model.time(runs)

    def warm_up(self) -> int:
        """Warms the model up and fixes how many inferences a sample spans and how many pairs a block has."""
        count = self._model.warm_up()
        self._once_s, reference_s = self._model.once_s, self._reference.once_s
        sample_s = max(_TICKS_PER_SAMPLE * self._model.tick_s, _MIN_SAMPLE_S)
        self._runs = math.ceil(sample_s / self._once_s)
        spanned_s, most_runs = self._runs * self._once_s, _MAX_REFERENCE_RUNS
        if sample_s > _MIN_SAMPLE_S:  # a coarse clock: one inference may have been shorter than a tick
            sample_s = min(sample_s, _MAX_SAMPLE_S)
            most_runs = math.ceil(sample_s / reference_s)
            spanned_s = self._runs * self._model.time(self._runs)
            while spanned_s < sample_s:
                self._runs *= 2
                spanned_s = self._runs * self._model.time(self._runs)
        # A long sample is paired with a longer stretch of the reference, so that both see the same machine.
        self._reference_runs = min(most_runs, max(1, round(spanned_s / reference_s)))
        self.clock_error = self._model.tick_s / min(spanned_s, self._reference_runs * reference_s)
        least, most = _PAIRS_PER_BLOCK
        beside_s = (_REFERENCE_SETTLING_RUNS + self._reference_runs) * reference_s
        pairs = round(self._block_s / (spanned_s + beside_s))
        self._pairs = min(most, max(least, pairs))
        return count

    def block(self) -> tuple[Block, Block]:
        """One block of pairs: seconds per inference of the model, and of the reference right after."""
        if self._renewed and self._blocks and self._blocks % _BLOCKS_PER_SESSION == 0:
            self._model = self._renewed()
        self._blocks += 1
        self._model.time(_SETTLING_RUNS)
        collecting = gc.isenabled()
        gc.disable()
        try:
            pairs = [self._pair() for _ in range(self._pairs)]
        finally:
            if collecting:
                gc.enable()
        return tuple(own for own, _ in pairs), tuple(other for _, other in pairs)

    def _pair(self) -> tuple[float, float]:
        own = self._model.time(self._runs)
        self._reference.time(_REFERENCE_SETTLING_RUNS)
        return own, self._reference.time(self._reference_runs)
