"""The latency predictor: a sum over kernels, corrected by what such sums miss, with a calibrated interval."""

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture
from mobinas.content import alike
from mobinas.errors import PredictorError
from mobinas.files import check_ours, write_together
from mobinas.targets.measurement import Measurement, check_compatible
from mobinas.targets.target import Target
from predictors.kernels import KINDS, Kernel
from predictors.models.fit import Fit
from predictors.models.held_out import HeldOut
from predictors.models.measured import fit_of, layout_of, timed_networks
from predictors.models.report import Z_90, PredictorReport
from predictors.networks import Adder, AnyModel, Executed, Layout, NetworkSums, kernels_of

if TYPE_CHECKING:
    import onnx

    from predictors.model_file import ModelFile
    from predictors.models.adapted import AdaptedPredictor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

MIN_MODELS = 8
_FORMAT = 5
_JSON, _ARRAYS = "predictor.json", "arrays.npz"
_NO_BINDINGS: Mapping[str, int] = {}
_KEYS = (
    "format",
    "target_fingerprint",
    "host",
    "runtime_version",
    "block",
    "batch",
    "arrays_sha256",
    "report",
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted latencies.

    Attributes:
        mean_s: [n] seconds.
        std_s: [n] seconds; mean +- 1.645 std is the nominal 90 % interval.
        in_distribution: [n] False where the network is unlike all that were measured; measure it instead.
    """

    mean_s: Floats
    std_s: Floats
    in_distribution: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not (np.all(self.mean_s > 0) and np.all(self.std_s > 0)):
            raise PredictorError("predicted latencies and their deviations must be above 0")

    @property
    def interval_s(self) -> tuple[Floats, Floats]:
        """Ends of the nominal 90 % interval, [n] each; none below 0."""
        half = Z_90 * self.std_s
        return np.maximum(self.mean_s - half, 0), self.mean_s + half


@dataclass(frozen=True, slots=True)
class KindCost:
    """What kernels of one kind cost in a model.

    Attributes:
        count: How many there are.
        latency_s: Their share of the predicted latency in seconds.
    """

    count: int
    latency_s: float


class LatencyPredictor:
    """Predicts latencies on the target, host and runtime that its measurements come from.

    Attributes:
        target_fingerprint: Of the target measured.
        host: The machine measured.
        runtime_version: Of the runtime measured.
        report: Held-out figures.
    """

    def __init__(self, about: Measurement | dict[str, str], layout: Layout, fit: Fit, scale: float) -> None:
        """Used by `fit` and `load`."""
        named = about if isinstance(about, dict) else _identity(about)
        self.target_fingerprint = named["target_fingerprint"]
        self.host = named["host"]
        self.runtime_version = named["runtime_version"]
        self._fit = fit
        self._scale = scale
        self._sums = NetworkSums(layout, fit.columns)
        self.report: PredictorReport

    @classmethod
    def fit(
        cls,
        models: "Sequence[Path | onnx.ModelProto | ModelFile | Architecture]",
        measurements: Sequence[Measurement],
        *,
        seed: int = 0,
    ) -> "LatencyPredictor":
        """Fits a predictor, and judges it by cross-validation.

        Args:
            models: What was measured.
            measurements: One per model, in the same order. Those with the times of their kernels say most.
            seed: Of the folds.

        Raises:
            PredictorError: Too few models, a different number of measurements, or latencies that are all
                equal.
            MeasurementError: The measurements mix targets, hosts or runtime versions.
        """
        # The limit below reaches only those libraries that are loaded by then.
        import sklearn.ensemble  # noqa: F401
        from threadpoolctl import threadpool_limits

        _check(models, measurements)
        layout = layout_of(measurements)
        networks = timed_networks(models, measurements, layout)
        # Thousands of small factorisations: a second thread only waits, and on a busy machine for long.
        with threadpool_limits(1):
            judged = HeldOut(networks, measurements, seed)
            fitted = fit_of(networks, measurements, by_traffic=judged.by_traffic)
            predictor = cls(measurements[0], layout, fitted, judged.scale)
            predictor.report = judged.report()
        return predictor

    def predict(
        self, models: Sequence[AnyModel], *, bindings: Mapping[str, int] = _NO_BINDINGS
    ) -> Prediction:
        """Predicts each model's latency; tens of thousands of architectures a second.

        Args:
            models: Files, models in memory, or architectures.
            bindings: Sizes of the files' open dimensions beside the batch, by their names.

        Raises:
            PredictorError: Open sizes that are not bound.
            MeasurementError: A file that is unreadable, or that this machine's runtime cannot execute.
        """
        mean_s, deviation, known = self._fit.predict(self._sums.of(models, bindings))
        std_s = self._scale * deviation * mean_s
        return Prediction(_in_any_company(mean_s), _in_any_company(std_s), known)

    def executed(self, model: AnyModel, *, bindings: Mapping[str, int] = _NO_BINDINGS) -> Executed:
        """A model whose kernels are found, so that several questions about it read and run it once.

        Args:
            model: One of those that `predict` takes; raises as it does.
            bindings: As there.
        """
        return Executed(tuple(kernels_of(model, self.layout, bindings)))

    def cost_by_kind(
        self, model: AnyModel, *, bindings: Mapping[str, int] = _NO_BINDINGS
    ) -> dict[str, KindCost]:
        """What a model's predicted latency is made of, by kind of kernel, costliest first.

        Args:
            model: One of those that `predict` takes.
            bindings: As there.

        Returns:
            Times that add up to the predicted latency.
        """
        executed = self.executed(model, bindings=bindings)
        kernels = executed.kernels
        seconds = self.kernel_times_s(kernels)
        seconds *= float(self.predict([executed]).mean_s[0]) / seconds.sum()
        times: dict[str, float] = {}
        for kernel, latency_s in zip(kernels, seconds.tolist(), strict=True):
            times[kernel.kind] = times.get(kernel.kind, 0.0) + latency_s
        counts = Counter(kernel.kind for kernel in kernels)
        costs = {kind: KindCost(counts[kind], latency_s) for kind, latency_s in times.items()}
        return dict(sorted(costs.items(), key=lambda item: -item[1].latency_s))

    def times_by_kind_s(self, models: Sequence[AnyModel]) -> Floats:
        """How each model's time divides into `predictors.kernels.KINDS`, in seconds: [n, len(KINDS)]."""

        def by_kind(kernels: Sequence[Kernel]) -> Floats:
            kinds = [KINDS.index(kernel.kind.removesuffix("_blocked")) for kernel in kernels]
            return self.kernel_times_s(kernels)[:, None] * np.eye(len(KINDS))[kinds]

        adder = Adder(by_kind)
        sums = [adder.sum_of(kernels_of(model, self._sums.layout)) for model in models]
        return np.array(sums).reshape(len(models), len(KINDS))

    def adapt(
        self, models: Sequence[AnyModel], latencies_s: npt.ArrayLike, *, target: Target
    ) -> "AdaptedPredictor":
        """A predictor for another device, from this one and a few latencies (few-shot transfer).

        Args:
            models: 5 to 100 models; 10 to 30 are meant.
            latencies_s: [n] seconds that they take on the other device.
            target: The other device; ``Target(name="pixel")`` for one that is known by its numbers alone.

        Raises:
            PredictorError: Too few pairs, or latencies that are equal, not finite or not positive.
        """
        from predictors.models.adapted import AdaptedPredictor

        return AdaptedPredictor.of(self, models, latencies_s, target)

    def kernel_times_s(self, kernels: Sequence[Kernel]) -> Floats:
        """What each kernel takes within a network, in seconds: [n]."""
        return self._fit.kernels.kernel_times_s(kernels)[0]

    def kernel_deviations(self, kernels: Sequence[Kernel]) -> Floats:
        """How unsure `kernel_times_s` is of each, as a standard deviation of the logarithm: [n].

        It is calibrated on networks: what a network of such kernels alone would get.
        """
        return self._scale * self._fit.kernel_deviations(kernels)

    def seen_kernel_times_s(self, kernels: Sequence[Kernel]) -> tuple[Floats, Floats]:
        """What the runtime's profiler showed for the very same kernels in measured networks.

        Returns:
            [n] seconds, and [n] standard deviations of their logarithms between looks. Both are NaN for
            kernels that were never seen, and for all where the runtime tells no times; the deviation also for
            those that were seen once.
        """
        if not self._fit.traced:
            return np.full(len(kernels), np.nan), np.full(len(kernels), np.nan)
        return self._fit.kernels.times.seen_s(kernels)

    @property
    def layout(self) -> Layout:
        """How the target's runtime lays tensors out."""
        return self._sums.layout

    def save(self, folder: Path) -> None:
        """Writes JSON and plain arrays into a folder.

        Raises:
            RunFolderError: The folder cannot be written, or holds other files of these names.
        """
        write_together(self.files(folder))

    @staticmethod
    def check_place(folder: Path) -> None:
        """Refuses a folder where another program's file has the name of a predictor's.

        Raises:
            RunFolderError: The text says what is there.
        """
        known = json.dumps(dict.fromkeys(_KEYS)).encode()
        check_ours(folder / _JSON, lambda path: alike(path, known), "a latency predictor")

    def files(self, folder: Path) -> dict[Path, bytes | str]:
        """What `save` writes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, scale=np.array(self._scale), **self._fit.to_arrays())
        about = (
            _FORMAT,
            self.target_fingerprint,
            self.host,
            self.runtime_version,
            self._sums.layout.block,
            self._sums.layout.batch,
            hashlib.sha256(buffer.getvalue()).hexdigest(),
            self.report.to_json(),
        )
        text = json.dumps(dict(zip(_KEYS, about, strict=True)), indent=1)
        return {folder / _ARRAYS: buffer.getvalue(), folder / _JSON: text}

    @classmethod
    def load(cls, folder: Path) -> "LatencyPredictor":
        """Reads what `save` wrote; predictions are the same.

        Raises:
            PredictorError: Files are missing, torn, or of another version.
        """
        again = "profile the target again"
        try:
            about: dict[str, Any] = json.loads((folder / _JSON).read_text(encoding="utf-8"))
            data = (folder / _ARRAYS).read_bytes()
            if hashlib.sha256(data).hexdigest() != about["arrays_sha256"]:
                raise PredictorError(f"the predictor in {folder} is torn, its arrays have changed; {again}")
            if about["format"] != _FORMAT:
                raise PredictorError(f"the predictor in {folder} is of another version; {again}")
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            layout = Layout(int(about["block"]), int(about["batch"]))
            predictor = cls(about, layout, Fit.from_arrays(arrays), float(arrays["scale"]))
            predictor.report = PredictorReport.from_json(about["report"])
        except OSError as error:
            raise PredictorError(
                f"cannot read a predictor from {folder}: {error.strerror}; {again}"
            ) from error
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise PredictorError(f"the predictor in {folder} is torn ({error}); {again}") from error
        return predictor


def _in_any_company(values: Floats) -> Floats:
    """Rounded so that a network gets the same number alone and among others, whose sums round differently."""
    return values.astype(np.float32).astype(np.float64)


def _identity(measurement: Measurement) -> dict[str, str]:
    return {key: getattr(measurement, key) for key in ("target_fingerprint", "host", "runtime_version")}


def _check(models: Sequence[Any], measurements: Sequence[Measurement]) -> None:
    if len(models) != len(measurements):
        raise PredictorError(
            f"{len(models)} models but {len(measurements)} measurements; give one measurement per model"
        )
    if len(models) < MIN_MODELS:
        raise PredictorError(f"{len(models)} models are too few to fit; measure at least {MIN_MODELS}")
    check_compatible(measurements)
    latencies_s = [m.median_s for m in measurements]
    if max(latencies_s) < 1.001 * min(latencies_s):
        raise PredictorError(
            f"all {len(models)} latencies equal {latencies_s[0]:.3g} s; measure networks of different size"
        )
