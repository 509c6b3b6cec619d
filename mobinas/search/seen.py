"""What a sampler sees of a study, as arrays; and the sampler that is nothing but a function of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mobinas.metrics.hypervolume import non_dominated
from mobinas.search.record import VALUES_KEY

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ABSENT = -1
# From choices by name to what is known of them without an evaluation: losses by the objective's name, and
# violations by the constraint's text.
Foretell = Callable[[Mapping[str, Any]], tuple[Mapping[str, float], Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Foretold:
    """What is known of points without an evaluation.

    Attributes:
        losses: [n, objectives], NaN where unknown.
        violations: [n, constraints], NaN where unknown.
        infeasible: [n] marks of points that break anything, be it a constraint that no trial was told of yet.
    """

    losses: Floats
    violations: Floats
    infeasible: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """Ended trials as arrays.

    A point is a row of option numbers, `ABSENT` where a choice does not exist beside the others.

    Attributes:
        options: Name to options of every choice seen so far, a choice after those that it depends on.
        points: [n, choices] option numbers, oldest first.
        losses: [n, objectives], all to be minimised; NaN where unknown.
        violations: [n, constraints], positive where broken; NaN where unknown.
        asked: Points that are not to be proposed again; those just refused as known are among them.
        metrics: Names of the objectives; empty where the study has none.
        needs: Choice to (the earlier choice, marks of its options) without which it does not exist.
        bounds: The constraints' texts.
        foretell: Tells what is known without an evaluation; None where nothing is.
    """

    options: Mapping[str, tuple[Any, ...]]
    points: Ints
    losses: Floats
    violations: Floats
    asked: frozenset[bytes] = frozenset()
    metrics: tuple[str, ...] = ()
    needs: Mapping[int, tuple[int, npt.NDArray[np.bool_]]] = field(default_factory=dict)
    bounds: tuple[str, ...] = ()
    foretell: Foretell | None = None

    @classmethod
    def of(cls, study: Study, foretell: Foretell | None = None) -> "Seen":
        """Reads a study; a function of its ended trials and of those refused since the last one."""
        trials = study.get_trials(deepcopy=False)
        told = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        # What was refused earlier is not in the stored study, so a resumed run could not know it.
        last = told[-1].number if told else -1
        refused = [trial for trial in trials[last + 1 :] if trial.state == TrialState.FAIL]
        options: dict[str, tuple[Any, ...]] = {}
        for trial in told:
            if trial.distributions.keys() <= options.keys():
                continue
            for name, distribution in trial.distributions.items():
                if isinstance(distribution, CategoricalDistribution):
                    options.setdefault(name, distribution.choices)
        points = _points(told, options)
        # Those refused may hold choices that no told trial has.
        known = _points([trial for trial in refused if trial.params.keys() <= options.keys()], options)
        bounds = tuple(dict.fromkeys(name for trial in told for name in trial.constraints))
        return cls(
            options,
            points,
            _losses(study, told),
            _rows([trial.constraints for trial in told], bounds),
            frozenset(row.tobytes() for row in np.concatenate([points, known])),
            tuple(study.metric_names or ()),
            _needs(points, list(options.values())),
            bounds,
            foretell,
        )

    def __len__(self) -> int:
        return len(self.points)

    @property
    def sizes(self) -> Ints:
        """[choices] numbers of options."""
        return np.array([len(options) for options in self.options.values()], dtype=np.int64)

    def feasible(self) -> npt.NDArray[np.bool_]:
        """[n] marks of trials that break nothing and know all objectives."""
        broken = np.asarray((np.nan_to_num(self.violations) > 0).any(axis=1))
        result: npt.NDArray[np.bool_] = self.evaluated() & ~broken
        return result

    def evaluated(self) -> npt.NDArray[np.bool_]:
        """[n] marks of trials that know all objectives."""
        return ~np.asarray(np.isnan(self.losses).any(axis=1))

    def front(self) -> Ints:
        """Numbers of the feasible trials that no other dominates, best in the first objective first.

        Without a feasible one, the trials that break the least.
        """
        feasible = np.flatnonzero(self.feasible())
        if not len(feasible):
            beyond = np.maximum(np.nan_to_num(self.violations), 0).sum(axis=1)
            result: Ints = np.flatnonzero(beyond <= beyond.min())
            return result
        losses = self.losses[feasible]
        front = feasible[non_dominated(losses)]
        return front[np.lexsort(self.losses[front].T[::-1])]

    def random(self, n: int, rng: np.random.Generator) -> Ints:
        """[n, choices] uniform draws over the options."""
        return self.without_absent(rng.integers(0, self.sizes, (n, len(self.sizes))))

    def filled(self, points: Ints, rng: np.random.Generator) -> Ints:
        """The points with a random option wherever a choice is absent."""
        return np.where(points == ABSENT, rng.integers(0, self.sizes, points.shape), points)

    def mutated(self, points: Ints, changes: int | Ints, rng: np.random.Generator) -> Ints:
        """Each point with so many of its choices (all, where there are fewer) redrawn among the others."""
        filled = self.filled(points, rng)
        # A choice that does not exist comes last.
        order = np.argsort(rng.random(points.shape) + (points == ABSENT), axis=1).argsort(axis=1)
        steps = rng.integers(1, np.maximum(self.sizes, 2), points.shape)
        changed = np.where(order < np.reshape(changes, (-1, 1)), (filled + steps) % self.sizes, filled)
        return self.without_absent(changed)

    def without_absent(self, filled: Ints) -> Ints:
        """Points whose choices do not exist beside the others marked as absent."""
        points = filled.copy()
        for choice, (earlier, marks) in self.needs.items():
            exists = marks[points[:, earlier]] & (points[:, earlier] != ABSENT)
            points[~exists, choice] = ABSENT
        return points

    def unseen(self, points: Ints) -> Ints:
        """The points not yet asked, each once, in the same order."""
        keys = dict.fromkeys(row.tobytes() for row in points)
        fresh = [np.frombuffer(key, dtype=np.int64) for key in keys if key not in self.asked]
        return np.array(fresh, dtype=np.int64).reshape(-1, points.shape[1])

    def foretold(self, points: Ints) -> Foretold:
        """What is known of the points."""
        told = [self.foretell(self.params(point)) if self.foretell else ({}, {}) for point in points]
        losses, violations = [pair[0] for pair in told], [pair[1] for pair in told]
        infeasible = np.array([any(x > 0 for x in row.values()) for row in violations], dtype=bool)
        return Foretold(_rows(losses, self.metrics), _rows(violations, self.bounds), infeasible)

    def params(self, point: Ints) -> dict[str, Any]:
        """The choices of a point by name."""
        named = zip(self.options.items(), point.tolist(), strict=True)
        return {name: options[k] for (name, options), k in named if k != ABSENT}


Propose = Callable[[Seen, np.random.Generator], Ints]


class PointSampler(BaseSampler):
    """A sampler that is a function of what was seen and of its seed.

    Attributes:
        foretell: What is known of a point without an evaluation; None where nothing is.
    """

    def __init__(self, propose: Propose, seed: int) -> None:
        """Takes the function: what was seen and a generator to [1, choices], one point."""
        self._propose = propose
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._seen: Seen | None = None
        self.foretell: Foretell | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All choices seen so far."""
        self._seen = Seen.of(study, self.foretell)
        return {name: CategoricalDistribution(options) for name, options in self._seen.options.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The function's point; nothing before the first ended trial."""
        if self._seen is None or not search_space:
            return {}
        return self._seen.params(self._propose(self._seen, self._rng)[0])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Uniform, for a choice not seen before."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _points(trials: Sequence[FrozenTrial], options: Mapping[str, tuple[Any, ...]]) -> Ints:
    numbers = {name: {option: k for k, option in enumerate(of)} for name, of in options.items()}
    columns = list(numbers.items())
    rows = []
    for trial in trials:
        params = trial.params
        rows.append([of[params[name]] if name in params else ABSENT for name, of in columns])
    return np.array(rows, dtype=np.int64).reshape(len(trials), len(columns))


def _losses(study: Study, trials: Sequence[FrozenTrial]) -> Floats:
    signs = np.array([-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in study.directions])
    losses = np.array([trial.values for trial in trials], dtype=np.float64).reshape(len(trials), len(signs))
    names = study.metric_names or ()
    needed = set(names)
    for row, trial in zip(losses, trials, strict=True):
        values = trial.user_attrs.get(VALUES_KEY)
        if values is not None and not values.keys() >= needed:
            row[[name not in values for name in names]] = np.nan
    return signs * losses


def _rows(numbers: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats:
    """[n, names], NaN where there is no number."""
    rows = [[row.get(name, np.nan) for name in names] for row in numbers]
    return np.array(rows, dtype=np.float64).reshape(len(numbers), len(names))


def _needs(points: Ints, options: list[tuple[Any, ...]]) -> dict[int, tuple[int, npt.NDArray[np.bool_]]]:
    """For each choice that is sometimes absent: an earlier one whose option tells, where there is one."""
    needs = {}
    for choice in np.flatnonzero((points == ABSENT).any(axis=0)):
        exists = points[:, choice] != ABSENT
        for earlier in range(choice):
            column = points[:, earlier]
            beside = {int(k) for k in np.unique(column[exists])}
            if not beside & {int(k) for k in np.unique(column[~exists])}:
                marks = np.array([k in beside for k in range(len(options[earlier]))])
                needs[int(choice)] = (earlier, marks)
                break
    return needs
