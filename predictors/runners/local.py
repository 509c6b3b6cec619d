"""Times models with onnxruntime on this machine, in this process."""

from collections.abc import Sequence

from mobinas.progress import Progress
from mobinas.runtime import runtime_version
from mobinas.targets.target import Target
from predictors.runners.base import ModelFile, OnResult, measurement_of
from predictors.runners.reference import reference_model
from predictors.worker.host import host
from predictors.worker.measuring import MeasuringPlan, Model, Timed, measure_models


class LocalRunner:
    """onnxruntime on this machine, in this process."""

    @property
    def host(self) -> str:
        """Name, CPU model and number of CPUs of this machine."""
        return host()

    @property
    def runtime_version(self) -> str:
        """The installed onnxruntime."""
        return runtime_version()

    def measure(
        self,
        models: Sequence[ModelFile],
        target: Target,
        plan: MeasuringPlan,
        on_result: OnResult,
        progress: Progress,
    ) -> None:
        """Measures group by group; see `predictors.runners.Runner`."""

        def keep(i: int, timed: Timed) -> None:
            on_result(i, measurement_of(models[i], target, self.host, self.runtime_version, timed))

        named = [Model(model.name, model.source) for model in models]
        reference = reference_model().SerializeToString(deterministic=True)
        measure_models(named, reference, target, plan, keep, progress)
