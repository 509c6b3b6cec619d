"""Random search: what any other search has to beat with as many evaluations."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobinas.metrics.evaluation import C
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.progress import Progress, silent
from mobinas.search.choice_space import Space, uniformly
from mobinas.search.constraints import BoundSpec
from mobinas.search.judging import Numbers
from mobinas.search.study import pareto_search


def random_search(
    space: Space[C],
    evaluate: Callable[[C], Numbers] | str,
    objectives: Sequence[Objective],
    *,
    constraints: Mapping[str, BoundSpec] | None = None,
    n_trials: int,
    seed: int = 0,
    storage: Path | str | None = None,
    prefilter: Callable[[C], Numbers] | None = None,
    progress: Progress = silent,
    **workers: Any,
) -> SearchResult[C]:
    """Evaluates distinct uniform draws over encodings, those within what the prefilter tells.

    Arguments, result and errors are those of `pareto_search`, `workers` all that it takes about them; every
    draw is one of its start.
    """

    def draws(rng: random.Random) -> Iterator[C]:
        while True:
            yield space.build(uniformly(rng))

    return pareto_search(
        space,
        evaluate,
        objectives,
        constraints=constraints,
        n_trials=n_trials,
        sampler="random",
        seed=seed,
        storage=storage,
        start=draws,
        n_start=n_trials,
        prefilter=prefilter,
        progress=progress,
        **workers,
    )
