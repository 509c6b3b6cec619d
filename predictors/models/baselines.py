"""Simpler predictors on the same networks, so that a report shows what the kernels buy."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from predictors.kernels import Kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

_RIDGE = 1e-3
_DENSE = ("conv", "pointwise", "depthwise", "grouped", "vector_conv", "image_conv", "linear")

# From plain features and latencies of networks to the latencies of others.
Baseline = Callable[[Floats, Floats, Floats], Floats]


def plain_features(networks: Sequence[Sequence[Kernel]]) -> Floats:
    """What can be counted without a runtime: multiply-accumulates, weights, activations, kernels, by kind.

    Returns:
        [n, columns]; the first is multiply-accumulates.
    """
    groups = sorted({kernel.kind.removesuffix("_blocked") for network in networks for kernel in network})
    place = {group: i for i, group in enumerate(groups)}
    features = np.zeros((len(networks), 4 + 2 * len(groups)))
    for row, network in zip(features, networks, strict=True):
        for kernel in network:
            group = kernel.kind.removesuffix("_blocked")
            dense = group in _DENSE
            row[:4] += (kernel.work * dense, kernel.weight_bytes, kernel.written_bytes, 1)
            row[4 + 2 * place[group]] += 1
            row[5 + 2 * place[group]] += kernel.work
    return features


def macs_alone(features: Floats, latencies_s: Floats, new: Floats) -> Floats:
    """A line through multiply-accumulates, its relative errors least."""
    from scipy.optimize import nnls

    def columns(x: Floats) -> Floats:
        return np.column_stack([np.ones(len(x)), x[:, 0] / 1e9])

    solution, _ = nnls(columns(features) / latencies_s[:, None], np.ones(len(features)))
    result: Floats = np.maximum(columns(new) @ solution, 1e-9)
    return result


def ridge(features: Floats, latencies_s: Floats, new: Floats) -> Floats:
    """Ridge regression of latency on all plain features, weighted for relative errors."""
    scale = features.max(axis=0) + 1e-12
    a = np.column_stack([np.ones(len(features)), features / scale])
    weighted = a / latencies_s[:, None] * np.median(latencies_s)
    gram = weighted.T @ weighted + _RIDGE * len(features) * np.eye(a.shape[1])
    solution = np.linalg.solve(gram, weighted.T @ np.full(len(features), np.median(latencies_s)))
    predicted = np.column_stack([np.ones(len(new)), new / scale]) @ solution
    result: Floats = np.maximum(predicted, latencies_s.min() / 10)
    return result


def boosting(features: Floats, latencies_s: Floats, new: Floats) -> Floats:
    """Gradient boosting of log latency on plain features."""
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(random_state=0, n_estimators=150, max_depth=3, subsample=0.7)
    model.fit(np.log1p(features), np.log(latencies_s))
    result: Floats = np.exp(model.predict(np.log1p(new)))
    return result


BASELINES: Mapping[str, Baseline] = {
    "multiply-accumulates alone": macs_alone,
    "ridge, plain features": ridge,
    "gradient boosting, plain features": boosting,
}
