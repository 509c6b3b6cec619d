"""The latency predictor: a sum over kernels, corrected by what such sums miss, with a calibrated interval."""

import hashlib
import io
import json
import statistics
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture
from mobinas.errors import PredictorError
from mobinas.files import write_atomic
from mobinas.targets.measurement import Measurement, check_compatible
from predictors.kernels import FEATURE_NAMES, KINDS, feature_vector, kernels_of_model
from predictors.models.kernel_sum import fit_kernel_sum, terms_of
from predictors.models.report import PredictorReport, hit_rate, rank_correlations
from predictors.models.residual import Residual, composition

if TYPE_CHECKING:
    import onnx

Floats = npt.NDArray[np.float64]

MIN_MODELS = 8
_FOLDS = 8
_INNER_FOLDS = 6
_Z_90 = 1.6449
# Measurements have errors beyond their own interval (the state of the machine), so none counts as exact.
_FLOOR_STD = 0.03
_MARGIN = 0.25
_FORMAT = 1
_JSON, _ARRAYS = "predictor.json", "arrays.npz"


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
        half = _Z_90 * self.std_s
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


@dataclass(frozen=True)
class _Fit:
    """The fitted parts; everything that prediction needs."""

    coefficients: Floats
    residual: Residual

    @classmethod
    def of(cls, terms: Floats, latencies_s: Floats, weights: Floats, rng: np.random.Generator) -> "_Fit":
        held_out = np.zeros(len(latencies_s))
        for test in np.array_split(rng.permutation(len(latencies_s)), _INNER_FOLDS):
            train = np.setdiff1d(np.arange(len(latencies_s)), test)
            partial = fit_kernel_sum(terms[train], latencies_s[train], weights[train])
            held_out[test] = np.log(latencies_s[test] / (terms[test] @ partial))
        coefficients = fit_kernel_sum(terms, latencies_s, weights)
        return cls(coefficients, Residual.fit(composition(terms, coefficients), held_out))

    def predict(self, terms: Floats) -> tuple[Floats, Floats]:
        """Mean in seconds, and relative width of the spread."""
        correction, spread = self.residual.predict(composition(terms, self.coefficients))
        return (terms @ self.coefficients) * np.exp(correction), spread


@dataclass(frozen=True)
class LatencyPredictor:
    """Predicts latencies on the target, host and runtime that its measurements come from.

    Attributes:
        target_fingerprint: Of the target measured.
        host: The machine measured.
        runtime_version: Of the runtime measured.
        report: Held-out figures.
    """

    target_fingerprint: str
    host: str
    runtime_version: str
    report: PredictorReport
    _fit: _Fit
    _scale: float
    _seen: npt.NDArray[np.bool_]

    @classmethod
    def fit(
        cls,
        models: "Sequence[Path | onnx.ModelProto | Architecture]",
        measurements: Sequence[Measurement],
        *,
        seed: int = 0,
    ) -> "LatencyPredictor":
        """Fits a predictor, and judges it by cross-validation.

        Args:
            models: What was measured.
            measurements: One per model, in the same order.
            seed: Of the folds.

        Raises:
            PredictorError: Too few models, a different number of measurements, or latencies that are all
                equal.
            MeasurementError: The measurements mix targets, hosts or runtime versions.
        """
        _check(models, measurements)
        features = features_of(models)
        terms = terms_of(features)
        latencies_s = np.array([m.median_s for m in measurements])
        weights = _weights(measurements)
        rng = np.random.default_rng(seed)
        folds = np.array_split(rng.permutation(len(models)), min(_FOLDS, len(models)))
        predicted, spread = np.empty_like(latencies_s), np.empty_like(latencies_s)
        by_macs = np.empty_like(latencies_s)
        for test in folds:
            train = np.setdiff1d(np.arange(len(models)), test)
            partial = _Fit.of(terms[train], latencies_s[train], weights[train], rng)
            predicted[test], spread[test] = partial.predict(terms[test])
            by_macs[test] = _line(features[train, -1], latencies_s[train], features[test, -1])
        errors = np.abs(latencies_s / predicted - 1) / spread
        scales = np.empty_like(latencies_s)
        for test in folds:
            scales[test] = _calibrated(np.delete(errors, test))
        report = _report(measurements, latencies_s, predicted, scales * spread * predicted, by_macs, features)
        first = measurements[0]
        return cls(
            first.target_fingerprint,
            first.host,
            first.runtime_version,
            report,
            _Fit.of(terms, latencies_s, weights, rng),
            _calibrated(errors),
            np.asarray(terms.any(axis=0)),
        )

    def predict(self, models: "Sequence[Path | onnx.ModelProto | Architecture]") -> Prediction:
        """Predicts each model's latency; thousands of architectures a second.

        Raises:
            PredictorError: A model is unreadable, or its shapes are open.
        """
        terms = terms_of(features_of(models))
        mean_s, spread = self._fit.predict(terms)
        known = self._fit.residual.inputs
        low, high = known.min(axis=0), known.max(axis=0)
        margin = _MARGIN * (high - low) + 0.05
        inputs = composition(terms, self._fit.coefficients)
        inside = ((inputs >= low - margin) & (inputs <= high + margin)).all(axis=1)
        in_distribution = inside & ~terms[:, ~self._seen].any(axis=1)
        return Prediction(mean_s, self._scale * spread * mean_s, in_distribution)

    def cost_by_kind(self, model: "Path | onnx.ModelProto | Architecture") -> dict[str, KindCost]:
        """What a model's predicted latency is made of, by kind of kernel, costliest first.

        Args:
            model: One of those that `predict` takes.

        Returns:
            Times that add up to the predicted latency; ``start`` is what every run costs.
        """
        (features,) = features_of([model])
        (times_s,) = terms_of(features[None]) * self._fit.coefficients
        times_s *= float(self.predict([model]).mean_s[0]) / times_s.sum()
        costs = {
            kind: KindCost(int(features[3 * i]), float(times_s[3 * i : 3 * i + 3].sum()))
            for i, kind in enumerate(KINDS)
            if features[3 * i]
        }
        costs["start"] = KindCost(1, float(times_s[-1]))
        return dict(sorted(costs.items(), key=lambda item: -item[1].latency_s))

    def save(self, folder: Path) -> None:
        """Writes JSON and plain arrays into a folder.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        residual = self._fit.residual
        buffer = io.BytesIO()
        np.savez(
            buffer,
            coefficients=self._fit.coefficients,
            seen=self._seen,
            inputs=residual.inputs,
            weights=residual.weights,
            inverse=residual.inverse,
            numbers=np.array([residual.length, residual.ratio, self._scale]),
        )
        about = {
            "format": _FORMAT,
            "target_fingerprint": self.target_fingerprint,
            "host": self.host,
            "runtime_version": self.runtime_version,
            "features": list(FEATURE_NAMES),
            "arrays_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "report": self.report.to_json(),
        }
        write_atomic(folder / _ARRAYS, buffer.getvalue())
        write_atomic(folder / _JSON, json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "LatencyPredictor":
        """Reads what `save` wrote; predictions are the same to the last bit.

        Raises:
            PredictorError: Files are missing, torn, or of another version.
        """
        again = "profile the target again"
        try:
            about: dict[str, Any] = json.loads((folder / _JSON).read_text(encoding="utf-8"))
            data = (folder / _ARRAYS).read_bytes()
            if hashlib.sha256(data).hexdigest() != about["arrays_sha256"]:
                raise PredictorError(f"the predictor in {folder} is torn, its arrays have changed; {again}")
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            if about["format"] != _FORMAT or about["features"] != list(FEATURE_NAMES):
                raise PredictorError(f"the predictor in {folder} is of another version; {again}")
            length, ratio, scale = (float(x) for x in arrays["numbers"])
            residual = Residual(arrays["inputs"], arrays["weights"], arrays["inverse"], length, ratio)
            return cls(
                about["target_fingerprint"],
                about["host"],
                about["runtime_version"],
                PredictorReport.from_json(about["report"]),
                _Fit(arrays["coefficients"], residual),
                scale,
                arrays["seen"],
            )
        except OSError as error:
            raise PredictorError(
                f"cannot read a predictor from {folder}: {error.strerror}; {again}"
            ) from error
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise PredictorError(f"the predictor in {folder} is torn ({error}); {again}") from error


def features_of(models: "Sequence[Path | onnx.ModelProto | Architecture]") -> Floats:
    """Kernel features of models of any kind: [n, len(FEATURE_NAMES)]."""
    from predictors.blocks import architecture_features
    from predictors.runners.base import ModelFile

    features = np.empty((len(models), len(FEATURE_NAMES)))
    places = [i for i, model in enumerate(models) if isinstance(model, Architecture)]
    features[places] = architecture_features([m for m in models if isinstance(m, Architecture)])
    for i, model in enumerate(models):
        if not isinstance(model, Architecture):
            proto = ModelFile.of(model).load() if isinstance(model, Path) else model
            features[i] = feature_vector(kernels_of_model(proto))
    return features


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


def _weights(measurements: Sequence[Measurement]) -> Floats:
    half = np.array([(m.interval_s[1] - m.interval_s[0]) / 2 / m.median_s for m in measurements])
    return _FLOOR_STD**2 / (_FLOOR_STD**2 + (half / 1.96) ** 2)


def _calibrated(errors: Floats) -> float:
    """Standard deviation whose 90 % interval holds 90 % of new errors (split conformal quantile)."""
    share = min(1.0, 0.9 * (1 + 1 / len(errors)))
    return max(float(np.quantile(errors, share)) / _Z_90, 1e-6)


def _line(macs: Floats, latencies_s: Floats, new_macs: Floats) -> Floats:
    from scipy.optimize import nnls

    columns = np.column_stack([np.ones(len(macs)), macs / 1e9])
    solution, _ = nnls(columns / latencies_s[:, None], np.ones(len(macs)))
    result: Floats = np.column_stack([np.ones(len(new_macs)), new_macs / 1e9]) @ solution
    return np.maximum(result, 1e-9)


def _report(
    measurements: Sequence[Measurement],
    latencies_s: Floats,
    predicted: Floats,
    std_s: Floats,
    by_macs: Floats,
    features: Floats,
) -> PredictorReport:
    spearman, kendall = rank_correlations(predicted, latencies_s)
    halves = [m.block_values_s for m in measurements if len(m.blocks_s) > 1]
    even = np.array([statistics.median(values[::2]) for values in halves] or [1.0])
    odd = np.array([statistics.median(values[1::2]) for values in halves] or [np.inf])
    return PredictorReport(
        n=len(latencies_s),
        hit_rate_5=hit_rate(predicted, latencies_s, 0.05),
        hit_rate_10=hit_rate(predicted, latencies_s, 0.1),
        spearman=spearman,
        kendall=kendall,
        coverage_90=float(np.mean(np.abs(latencies_s - predicted) <= _Z_90 * std_s)),
        repeat_hit_rate_5=hit_rate(odd, even, 0.05),
        repeat_hit_rate_10=hit_rate(odd, even, 0.1),
        macs_hit_rate_5=hit_rate(by_macs, latencies_s, 0.05),
        macs_hit_rate_10=hit_rate(by_macs, latencies_s, 0.1),
        macs_spearman=rank_correlations(features[:, -1], latencies_s)[0],
        measured_s=tuple(latencies_s.tolist()),
        predicted_s=tuple(predicted.tolist()),
        std_s=tuple(std_s.tolist()),
    )
