"""A runner without a device or a clock: latencies follow from the model's structure.

For tests, and for trying a job out: the same model gets the same latency on every machine.
"""

from collections.abc import Sequence

import numpy as np

from mobinas.progress import Progress
from mobinas.targets.measurement import Measurement
from mobinas.targets.resources import Reading, Resources, reading
from mobinas.targets.target import Target
from predictors.kernels import Kernel, kernel_of
from predictors.model_calls import calls_of_model
from predictors.runners.base import ModelFile, OnResult
from predictors.worker.measuring import MeasuringPlan

# Of the size of one core of a current x86 server.
_START_S = 2e-6
_SECONDS_PER_KERNEL = 1e-6
_SECONDS_PER_WORK = {"conv": 1 / 8e9, "pointwise": 1 / 20e9}
_OTHER_SECONDS_PER_WORK = 1 / 5e9
_SECONDS_PER_BYTE = 1 / 20e9
_NOISE = 0.005
_SAMPLES = 5
_NOTHING = Reading(None, "the fake device takes none")


class FakeRunner:
    """Computes what it pretends to measure."""

    @property
    def host(self) -> str:
        """Always ``fake``."""
        return "fake"

    @property
    def runtime_version(self) -> str:
        """Changes only with the formula."""
        return "fake 1"

    def measure(
        self,
        models: Sequence[ModelFile],
        target: Target,
        plan: MeasuringPlan,
        on_result: OnResult,
        progress: Progress,
    ) -> None:
        """Computes all models' latencies; see `predictors.runners.Runner`."""
        for i, model in enumerate(models):
            kernels = [kernel_of(call) for call in calls_of_model(model, 1, target.batch)]
            latency_s = fake_latency_s(kernels)
            # Seeded by the structure, so that neither order nor company of the models matters.
            rng = np.random.default_rng([int(model.structure_digest[:15], 16), plan.seed])
            blocks = latency_s * np.exp(_NOISE * rng.standard_normal((plan.rounds, 1)))
            samples = blocks * np.exp(_NOISE * rng.standard_normal((plan.rounds, _SAMPLES)))
            on_result(i, self._measurement(model, target, samples))
            progress(i + 1, len(models), model.name)

    def _measurement(
        self, model: ModelFile, target: Target, samples: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    ) -> Measurement:
        return Measurement(
            structure_digest=model.structure_digest,
            file_sha256=model.file_sha256,
            target_fingerprint=target.fingerprint,
            host=self.host,
            runtime_version=self.runtime_version,
            blocks_s=tuple(tuple(float(s) for s in block) for block in samples),
            warmup_samples=0,
            started_at="1970-01-01T00:00:00+00:00",
            statistic=target.statistic,
            name=model.name,
            bindings=model.bindings,
            resources=Resources(reading(model.size_bytes), _NOTHING, _NOTHING, model.images(target.batch)),
        )


def fake_latency_s(kernels: Sequence[Kernel]) -> float:
    """The fake device's latency without noise: affine in each kernel's work and bytes, in seconds."""
    total = _START_S
    for kernel in kernels:
        per_work = _SECONDS_PER_WORK.get(kernel.kind, _OTHER_SECONDS_PER_WORK)
        size_bytes = kernel.read_bytes + kernel.weight_bytes + kernel.written_bytes
        total += _SECONDS_PER_KERNEL + kernel.work * per_work + size_bytes * _SECONDS_PER_BYTE
    return total
