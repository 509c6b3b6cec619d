"""What the report says about why the front is as it is."""

import math
from collections.abc import Mapping
from typing import Any

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.errors import SearchError
from mobinas.metrics.convergence import hypervolume_band
from mobinas.metrics.evaluation import Evaluation
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.comparisons import CELLS, SIZES, Comparisons
from mobinas.report.why import Decider, WhyInfo
from mobinas.report.words import percent
from mobinas.search.cell_features import cell_features
from mobinas.search.importance import importances
from mobinas.search.rungs import agreement

_READ = {
    "accuracy": "for accuracy",
    "balanced_accuracy": "for balanced accuracy",
    "latency_s": "for latency",
}
_VARIED = {SIZES: "the size of the knee alone", CELLS: "the cells of the knee alone"}


def corner_of(searched: SearchResult[Any], compared: Comparisons) -> dict[str, float]:
    """The reference point that all hypervolumes of a report have in common."""
    return {
        searched.objectives[0].name: 0.0,
        "latency_s": max(e["latency_s"] for e in _judged(searched, compared) if "latency_s" in e.values),
    }


def why_info(
    searched: SearchResult[Architecture],
    compared: Comparisons,
    space: SearchSpace,
    seed: int,
    tuned: Mapping[str, float],
    trained: Mapping[str, float],
) -> WhyInfo:
    """What decided, what sizes and cells reach alone, and how far each rung orders networks as the next.

    Args:
        searched: Judged by inherited weights.
        compared: Judged in the same way.
        space: Of all of them.
        seed: Shuffles and resamples.
        tuned: What judged the shortlist after a short training, by name.
        trained: What judged finalists, by name.
    """
    at_random = compared.at_random.history if compared.at_random else ()
    axes = searched.objectives
    metric = axes[0].name
    judged = [e for e in (*searched.history, *at_random) if metric in e.values]
    untold: tuple[tuple[str, str], ...] = ()
    try:
        deciders = tuple((_READ[axis.name], _deciders(judged, axis, space, seed)) for axis in axes)
    except SearchError as error:  # too few
        deciders, untold = (), (("which choices decided", f"not told: {error}"),)
    inherited = {e.candidate.name: e[metric] for e in judged}
    rungs = (
        ("order by inherited weights", inherited, tuned),
        ("order after a short training", tuned, trained),
    )
    orders = tuple((title, _order(low, high, seed)) for title, low, high in rungs)
    known = tuple((title, words) for title, words in orders if words)
    return WhyInfo(deciders, len(judged), (*_parts(searched, compared), *known, *untold))


def _order(low: Mapping[str, float], high: Mapping[str, float], seed: int) -> str:
    names = sorted(low.keys() & high.keys())
    found = agreement("", "accuracy", [low[n] for n in names], [high[n] for n in names], seed)
    if not math.isfinite(found.tau):
        return ""
    return (
        f"agrees with the next training's by Kendall's tau {found.tau:.2f} "
        f"({found.low:.2f} to {found.high:.2f}) over {found.n} networks"
    )


def _deciders(
    judged: list[Evaluation[Architecture]], axis: Objective, space: SearchSpace, seed: int
) -> tuple[Decider, ...]:
    ops = space.ops()
    found = importances(judged, lambda architecture: cell_features(architecture, ops), axis, seed=seed)
    whole = sum(one.weight for one in found) or 1.0
    return tuple(Decider(one.name, one.weight / whole, one.noise / whole) for one in found)


def _parts(searched: SearchResult[Architecture], compared: Comparisons) -> tuple[tuple[str, str], ...]:
    """Each as a share of what the whole search reached, at the fewest evaluations that all had."""
    if not compared.around:
        return ()
    corner = corner_of(searched, compared)
    whole = searched.hypervolume(corner)
    results = {_VARIED[name]: result for name, result in compared.around.items()}
    if compared.at_random is not None:
        results["everything, at random"] = compared.at_random
    k = min(len(result.history) for result in results.values())
    if not whole or not k:
        return ()
    parts = []
    for varied, result in results.items():
        band = hypervolume_band(result.history, searched.objectives, corner)
        low, middle, high = (edge[k - 1] / whole for edge in (band.low, band.middle, band.high))
        spread = f" ({percent(low)} to {percent(high)} over seeds)" if high > low else ""
        parts.append((varied, f"{percent(middle)} of the search's hypervolume{spread}"))
    return (("evaluations of each", str(k)), ("around", searched.knee().candidate.name), *parts)


def _judged(searched: SearchResult[Any], compared: Comparisons) -> list[Evaluation[Any]]:
    others = (compared.at_random, *compared.around.values())
    return [*searched.history, *(e for result in others if result is not None for e in result.history)]
