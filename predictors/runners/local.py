"""Times models with onnxruntime on this machine, in fresh processes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mobinas.progress import Progress
from mobinas.runtime import runtime_version
from mobinas.targets.target import Target
from predictors.runners.base import ModelFile, OnResult, measurement_of
from predictors.runners.reference import reference_model
from predictors.worker.host import host
from predictors.worker.measuring import MeasuringPlan, Timed
from predictors.worker.processes import in_a_process, measure_models


class LocalRunner:
    """onnxruntime on this machine."""

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

        with tempfile.TemporaryDirectory(prefix="mobinas-") as folder:
            reference = Path(folder) / "reference.onnx"
            reference.write_bytes(reference_model().SerializeToString(deterministic=True))
            named = [
                model.asked(target.batch, _as_file(model.source, Path(folder) / f"{i}.onnx"))
                for i, model in enumerate(models)
            ]
            run = in_a_process(reference, target)
            measure_models(named, plan, target.statistic, run, keep, progress)


def _as_file(source: Path | bytes, path: Path) -> Path:
    if isinstance(source, Path):
        return source
    path.write_bytes(source)
    return path
