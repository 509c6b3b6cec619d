"""Which choices decided about an objective: PED-ANOVA on the record of a search.

PED-ANOVA (Watanabe, Bansal and Hutter, 2023, https://arxiv.org/abs/2304.10255) compares, for each choice, its
distribution among the best tenth of the candidates with that among all. With few candidates every choice
seems to matter a little, so the same is done with shuffled objectives, and what these reach is told beside.
"""

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import C, Evaluation
from mobinas.metrics.objective import Objective
from mobinas.search.journal import quiet_optuna
from mobinas.search.options import label_of

Features = Callable[[C], Mapping[str, Any]]

BEST = 0.1
SHUFFLES = 20
# Of the best tenth, Optuna's documentation asks for 5 candidates at least.
_LEAST = 50


@dataclass(frozen=True, slots=True)
class Importance:
    """Of one choice, or other feature, for one objective.

    Attributes:
        name: Of the choice.
        weight: How far its distribution among the best differs from that among all; a divergence, at least 0.
        noise: What 95 % of the choices' weights stay below when the objective is shuffled.
    """

    name: str
    weight: float
    noise: float

    @property
    def is_clear(self) -> bool:
        """Whether it stands out of the noise."""
        return self.weight > self.noise


def importances(
    evaluations: Sequence[Evaluation[C]],
    features: Features[C],
    objective: Objective,
    *,
    seed: int = 0,
    shuffles: int = SHUFFLES,
) -> tuple[Importance, ...]:
    """The importance of each feature for reaching the best tenth in an objective, the largest first.

    Args:
        evaluations: The history of a search; those without the objective are left out.
        features: Of a candidate, by name; numbers are taken as ordered, all else as categories. A candidate
            may lack some.
        objective: Any that the evaluations tell.
        seed: Shuffles.
        shuffles: How often, for the noise.

    Raises:
        SearchError: Fewer than 50 evaluations.
    """
    known = [e for e in evaluations if objective.name in e.values]
    if len(known) < _LEAST:
        raise SearchError(
            f"{len(known)} evaluations tell '{objective.name}'; importances need at least {_LEAST}"
        )
    losses = [objective.loss(e[objective.name]) for e in known]
    told = [features(e.candidate) for e in known]
    study = _study([{name: label_of(one, name) for name, one in some.items()} for some in told])
    weights = _weights(study, losses)
    rng = random.Random(seed)
    noise = [_weights(study, rng.sample(losses, len(losses))) for _ in range(shuffles)]
    found = [
        Importance(name, weight, float(np.quantile([n[name] for n in noise], 0.95)))
        for name, weight in weights.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.weight, one.name)))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return IntDistribution(min(values), max(values))
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return FloatDistribution(float(min(values)), float(max(values)))
    return CategoricalDistribution(sorted(set(values), key=str))


def _study(told: Sequence[Mapping[str, Any]]) -> optuna.Study:
    names = {name for features in told for name in features}
    kinds = {name: _distribution([t[name] for t in told if name in t]) for name in names}
    with quiet_optuna():
        study = optuna.create_study()
        for features in told:
            distributions = {name: kinds[name] for name in features}
            study.add_trial(create_trial(params=dict(features), distributions=distributions, value=0.0))
    return study


def _weights(study: optuna.Study, losses: Sequence[float]) -> dict[str, float]:
    with quiet_optuna(), warnings.catch_warnings():
        # That low losses are the better ones is meant; what few candidates have is weighed against noise.
        warnings.filterwarnings("ignore", message=".*computes the importances of params to achieve low")
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        return get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST),
            target=lambda trial: losses[trial.number],
            normalize=False,
        )
