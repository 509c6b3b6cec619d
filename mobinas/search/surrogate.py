"""What the trials tell of points not tried: a Gaussian process over categorical and ordered choices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from mobinas.search.seen import ABSENT, Floats, Ints

# How far a whole change of all choices is, in units of the kernel; noise as a share of the prior variance.
LENGTHS = (0.25, 1.0, 4.0)
NOISES = (1e-3, 1e-2, 1e-1)
MAX_COMPARED = 128
_RIDGE = 1.0
_SHARED = 0.3


class Encoder:
    """Points as features: squared distance 1 between the farthest options of each choice.

    Numbers are counted up (a step for each larger option), so near ones are alike; others are one-hot.
    """

    def __init__(self, options: Sequence[tuple[Any, ...]]) -> None:
        """Takes the options of each choice."""
        self._tables = [_table(of) for of in options]
        self._owners = np.repeat(np.arange(len(options)), [table.shape[1] for table in self._tables])

    def __call__(self, points: Ints) -> Floats:
        """[n, features]."""
        columns = [table[points[:, k]] for k, table in enumerate(self._tables)]
        result: Floats = np.concatenate(columns, axis=1)
        return result

    @property
    def owners(self) -> Ints:
        """[features] numbers of their choices."""
        return self._owners


def _table(options: tuple[Any, ...]) -> Floats:
    n = len(options)
    numeric = all(isinstance(option, int | float) and not isinstance(option, bool) for option in options)
    if numeric:
        ranks = np.argsort(np.argsort(options))
        steps = (ranks[:, None] > np.arange(n - 1)) / np.sqrt(max(n - 1, 1))
    else:
        steps = np.eye(n) / np.sqrt(2)
    # An absent choice is the last row, which is where the number -1 points to.
    table = np.zeros((n + 1, steps.shape[1] + 1))
    table[:n, :-1] = steps
    table[ABSENT, -1] = np.sqrt(0.5)
    return table


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A posterior; made by `fit`.

    Attributes:
        scaled: [n, features] of what was seen, times the roots of the relevances.
        roots: [features] roots of relevance over length.
        factor: Lower Cholesky factor of the kernel matrix.
        weights: [n] inverse kernel matrix times the centred numbers.
        mean: Of the numbers.
        spread: Of the prior.
        noise_std: Of what no choice foretells, which `predict` leaves out.
    """

    scaled: Floats
    roots: Floats
    factor: Floats
    weights: Floats
    mean: float
    spread: float
    noise_std: float

    @classmethod
    def fit(cls, features: Floats, owners: Ints, numbers: Floats, rng: np.random.Generator) -> "Surrogate":
        """Learns from pairs.

        The kernel is exp(-sum of relevance * distance / length): main effects with a short tail of
        interactions where the length is large. Relevances are either equal or follow the variance that a
        ridge regression explains by each choice; they, length and noise have the highest marginal likelihood
        (Rasmussen and Williams, 2006, eq. 5.8) on a subset, the variance in closed form.

        Args:
            features: [n, features], see `Encoder`.
            owners: [features].
            numbers: [n], finite.
            rng: Draws the subset.
        """
        mean, std = float(numbers.mean()), float(numbers.std()) or 1.0
        y = (numbers - mean) / std
        some = rng.permutation(len(y))[:MAX_COMPARED]
        best: tuple[float, Floats, float, float] | None = None
        for relevance in (np.ones(len(owners)) / (owners.max() + 1), _relevance(features, owners, y)):
            for length in LENGTHS:
                roots = np.sqrt(relevance / length)
                kernel = _kernel(features[some] * roots, features[some] * roots)
                for noise in NOISES:
                    evidence, variance = _evidence(kernel, y[some], noise)
                    if best is None or evidence > best[0]:
                        best = (evidence, roots, noise, variance)
        assert best is not None
        _, roots, noise, variance = best
        scaled = features * roots
        factor = cholesky(_noisy(_kernel(scaled, scaled), noise), lower=True, check_finite=False)
        weights = cho_solve((factor, True), y, check_finite=False) * std
        spread = std * float(np.sqrt(variance))
        return cls(scaled, roots, factor, weights, mean, spread, spread * float(np.sqrt(noise)))

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation without the noise, [n] each."""
        cross = _kernel(self.scaled, features * self.roots)
        inside = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        share = np.maximum(1.0 - np.einsum("ij,ij->j", inside, inside), 1e-9)
        return self.mean + cross.T @ self.weights, self.spread * np.sqrt(share)


def _kernel(a: Floats, b: Floats) -> Floats:
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    result: Floats = np.exp(-np.maximum(squares, 0.0))
    return result


def _noisy(kernel: Floats, noise: float) -> Floats:
    return kernel + noise * np.eye(len(kernel))


def _evidence(kernel: Floats, y: Floats, noise: float) -> tuple[float, float]:
    """Log marginal likelihood up to a constant, and the variance at which it is highest."""
    factor = cho_factor(_noisy(kernel, noise), lower=True, check_finite=False)
    # Never quite nothing, where all numbers are equal.
    variance = float(y @ cho_solve(factor, y, check_finite=False)) / len(y) + 1e-9
    return -float(np.log(np.diag(factor[0])).sum()) - 0.5 * len(y) * float(np.log(variance)), variance


def _relevance(features: Floats, owners: Ints, y: Floats) -> Floats:
    """[features] share of its choice in what a ridge regression explains; sums to 1 over choices."""
    centred = features - features.mean(axis=0)
    gram = centred.T @ centred + _RIDGE * np.eye(len(owners))
    slopes = np.linalg.solve(gram, centred.T @ y)
    choices = int(owners.max()) + 1
    effects = np.array([(centred[:, owners == k] @ slopes[owners == k]).var() for k in range(choices)])
    total = effects.sum()
    shares = effects / total if total > 0 else np.full(choices, 1 / choices)
    result: Floats = ((1 - _SHARED) * shares + _SHARED / choices)[owners]
    return result
