"""The Pareto front: what no other found candidate beats in every objective."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import C, CandidateT, Evaluation
from mobinas.metrics.hypervolume import hypervolume, non_dominated
from mobinas.metrics.objective import Objective, check_objectives, find_objective, judging_metric
from mobinas.metrics.score import DEFAULT_REFERENCE_S, score

Reference = Mapping[str, float] | Sequence[float]


@dataclass(frozen=True, slots=True)
class ParetoFront(Generic[CandidateT]):
    """Mutually non-dominated evaluations, unique by digest; made by `of`.

    Attributes:
        objectives: The axes.
        members: Best in the first objective first; ties by the next ones, then by digest.
    """

    objectives: tuple[Objective, ...]
    members: tuple[Evaluation[CandidateT], ...]

    def __post_init__(self) -> None:
        check_objectives(self.objectives)
        digests = [member.candidate.digest for member in self.members]
        if len(set(digests)) != len(digests):
            raise SearchError("a front holds each candidate once; make it with ParetoFront.of")
        if self.members and not non_dominated(self._losses()).all():
            raise SearchError("members of a front must not dominate each other; make it with ParetoFront.of")

    @classmethod
    def of(cls, evaluations: Iterable[Evaluation[C]], objectives: Sequence[Objective]) -> "ParetoFront[C]":
        """The front of the evaluations.

        Infeasible ones, and those that lack an objective, are left out. Of several evaluations of one
        candidate the first counts.

        Raises:
            SearchError: No objective, or two of one name.
        """
        axes = check_objectives(objectives)
        first: dict[str, Evaluation[C]] = {}
        for evaluation in evaluations:
            if evaluation.comparable(axes):
                first.setdefault(evaluation.candidate.digest, evaluation)
        ordered = sorted(first.values(), key=lambda e: (e.losses(axes), e.candidate.digest))
        if not ordered:
            return ParetoFront(axes, ())
        marks = non_dominated(np.array([e.losses(axes) for e in ordered]))
        return ParetoFront(axes, tuple(e for e, mark in zip(ordered, marks, strict=True) if mark))

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Evaluation[CandidateT]]:
        return iter(self.members)

    def _losses(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.array([member.losses(self.objectives) for member in self.members], dtype=np.float64)

    def hypervolume(self, reference: Reference) -> float:
        """The dominated volume; see `mobinas.metrics.hypervolume`.

        Args:
            reference: The worst value that still counts, by objective name or in the objectives' order, in
                the objectives' own units and directions.

        Raises:
            SearchError: The reference lacks an objective.
        """
        corner = reference_losses(reference, self.objectives)
        return hypervolume([member.losses(self.objectives) for member in self.members], corner)

    def knee(self) -> Evaluation[CandidateT]:
        """The member with the largest bulge: least sum of losses, each scaled to [0, 1] over the front.

        With two objectives this is the member farthest below the line between the ends (Das, 1999).

        Raises:
            SearchError: The front is empty.
        """
        self._check_not_empty()
        losses = self._losses()
        span = losses.max(axis=0) - losses.min(axis=0)
        scaled = (losses - losses.min(axis=0)) / np.where(span > 0, span, 1.0)
        return self.members[int(np.argmin(scaled.sum(axis=1)))]

    def within(self, **bounds: float) -> tuple[Evaluation[CandidateT], ...]:
        """The members that meet bounds: at most so much of a minimised objective, at least of a maximised.

        Args:
            **bounds: Objective name to bound, for example ``latency_s=0.005``.

        Raises:
            SearchError: An unknown objective.
        """
        limits = [(find_objective(self.objectives, name), bound) for name, bound in bounds.items()]
        return tuple(
            member
            for member in self.members
            if all(axis.loss(member[axis.name]) <= axis.loss(bound) for axis, bound in limits)
        )

    def best_score(self, reference_s: float = DEFAULT_REFERENCE_S) -> Evaluation[CandidateT]:
        """The member with the highest `mobinas.metrics.score.score`; the first of equals.

        Args:
            reference_s: The latency at which score and accuracy agree, in seconds.

        Raises:
            SearchError: The front is empty, or its objectives are not ``accuracy`` (or
                ``balanced_accuracy``) and ``latency_s``.
        """
        self._check_not_empty()
        metric = judging_metric([objective.name for objective in self.objectives]) or "accuracy"
        for name in (metric, "latency_s"):
            find_objective(self.objectives, name)
        return max(self.members, key=lambda m: score(m[metric], m["latency_s"], reference_s))

    def _check_not_empty(self) -> None:
        if not self.members:
            raise SearchError("the front is empty; loosen the constraints or evaluate more candidates")


def reference_losses(reference: Reference, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """A reference point as losses in the objectives' order.

    Raises:
        SearchError: It does not name each objective once.
    """
    names = [objective.name for objective in objectives]
    if isinstance(reference, Mapping):
        if set(reference) != set(names):
            raise SearchError(
                f"the reference names {', '.join(sorted(reference))}; it must name {', '.join(names)}"
            )
        reference = [reference[name] for name in names]
    if len(reference) != len(names):
        raise SearchError(f"the reference has {len(reference)} numbers for {len(names)} objectives")
    return tuple(objective.loss(x) for objective, x in zip(objectives, reference, strict=True))
