"""Which candidate comes next: always one that the record does not hold."""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from optuna.trial import Trial

from mobinas.errors import Infeasible
from mobinas.metrics.evaluation import C, Value
from mobinas.search.choice_space import Space, enumerate_space, recorded
from mobinas.search.constraints import Constraint, broken
from mobinas.search.feasibility import looking_up, single_changes
from mobinas.search.judging import UnusableAnswer
from mobinas.search.record import FOUND_BEFORE, Record, derived_seed
from mobinas.search.samplers import make_sampler

DUPLICATES_IN_A_ROW = 50
REJECTIONS_IN_A_ROW = 4
_RANDOM_DRAWS = 200
_PARENTS = 8
_ENUMERATED = 20_000
_KEEP = 0.8

Known = Callable[[C], Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Proposal(Generic[C]):
    """A candidate that the record does not hold, with what is known before its evaluation.

    Attributes:
        trial: Not yet ended.
        candidate: Of the trial.
        values: Those known.
        refused: Why it is not to be evaluated: it is known to be infeasible, or has failed; else empty.
        failed: Whether it has.
    """

    trial: Trial
    candidate: C
    values: Mapping[str, Value]
    refused: str
    failed: bool


@dataclass(frozen=True, slots=True)
class _Foreknown:
    """Values, why there is nothing to evaluate, how far beyond the constraints, and whether it failed."""

    values: Mapping[str, Value]
    refused: str = ""
    beyond: float = 0.0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Proposer(Generic[C]):
    """Proposes candidates; a function of seed, record and what is known, so that a resume repeats it.

    Attributes:
        space: Where candidates come from.
        record: What has ended.
        constraints: Bounds; candidates known to break them are avoided where draws are free.
        known: What is known of a candidate before its evaluation, always the same; may raise Infeasible or
            UnusableAnswer. None where nothing is.
        sampler: A name of `make_sampler`.
        seed: Of all draws.
        start: Yields first candidates; each time, the first one not yet seen is taken.
        n_start: How many evaluations are drawn so before the sampler takes over.
    """

    space: Space[C]
    record: Record[C]
    constraints: Sequence[Constraint]
    known: Known[C] | None
    sampler: str
    seed: int
    start: Callable[[random.Random], Iterable[C]] | None
    n_start: int
    # Of the proposal that is being made, by digest.
    _foreknown: dict[str, _Foreknown] = field(default_factory=dict, init=False)

    def next(self) -> Proposal[C] | None:
        """The next candidate, or None when no further (feasible) one is to be found."""
        self._foreknown.clear()
        number = len(self.record.entries)
        rng = random.Random(derived_seed(self.seed, number, "draw"))
        if len(self.record.trailing("rejected")) >= REJECTIONS_IN_A_ROW:
            # The sampler aims at what cannot be had; help it out, or end.
            found = self._drawn(self._anywhere(rng), number)
            return None if found is None or found.refused else found
        if self.record.count("evaluated", "failed", "pending") < self.n_start:
            return self._drawn(self._starts(rng), number)
        for attempt in range(DUPLICATES_IN_A_ROW):
            foretell = self._foretold if self.known else None
            sampler = make_sampler(self.sampler, derived_seed(self.seed, number, attempt), foretell)
            trial, candidate = self.record.ask(sampler)
            if candidate.digest not in self.record.digests:
                known = self._look(candidate)
                return Proposal(trial, candidate, known.values, known.refused, known.failed)
            self.record.drop(trial)
        return self._drawn(self._anywhere(rng), number)

    def _foretold(self, choices: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """What is known without an evaluation: losses by objective, violations by constraint."""
        open_choices = []

        def choose(name: str, options: Sequence[Any]) -> Any:
            if name not in choices and len(options) > 1:
                open_choices.append(name)
            return choices.get(name, options[0])

        candidate = self.space.build(choose)
        if open_choices:
            return {}, {}
        known = self._look(candidate)
        xs = {name: value.x for name, value in known.values.items()}
        violations = {str(c): c.violation(xs[c.name]) for c in self.constraints if c.name in xs}
        violations[FOUND_BEFORE] = 1.0 if known.beyond == math.inf else -1.0
        return {o.name: o.loss(xs[o.name]) for o in self.record.objectives if o.name in xs}, violations

    def _look(self, candidate: C) -> _Foreknown:
        found = self._foreknown.get(candidate.digest)
        if found is None:
            found = self._foreknown[candidate.digest] = self._looked(candidate)
        return found

    def _looked(self, candidate: C) -> _Foreknown:
        if self.known is None:
            return _Foreknown({})
        try:
            values = self.known(candidate)
        except Infeasible as error:
            return _Foreknown({}, str(error) or "infeasible", math.inf)
        except UnusableAnswer as error:
            return _Foreknown({}, str(error), math.inf, failed=True)
        text = "; ".join(f"breaks {constraint}" for constraint in broken(self.constraints, values))
        return _Foreknown(values, text, _beyond(self.constraints, values))

    def _drawn(self, draws: Iterator[tuple[C, dict[str, Any]]], number: int) -> Proposal[C] | None:
        """The first unseen draw within the constraints, else the one nearest to them."""
        best: tuple[_Foreknown, C, dict[str, Any]] | None = None
        seen = set(self.record.digests)
        for candidate, choices in draws:
            if candidate.digest in seen:
                continue
            seen.add(candidate.digest)
            known = self._look(candidate)
            if best is None or known.beyond < best[0].beyond:
                best = (known, candidate, choices)
            if not known.refused:
                break
        if best is None:
            return None
        known, candidate, choices = best
        sampler = make_sampler(self.sampler, derived_seed(self.seed, number, "given"))
        trial, _ = self.record.ask(sampler, choices)
        return Proposal(trial, candidate, known.values, known.refused, known.failed)

    def _starts(self, rng: random.Random) -> Iterator[tuple[C, dict[str, Any]]]:
        for candidate in itertools.islice(self.start(rng) if self.start else (), _RANDOM_DRAWS):
            yield candidate, dict(self.space.encode(candidate))
        yield from self._anywhere(rng)

    def _anywhere(self, rng: random.Random) -> Iterator[tuple[C, dict[str, Any]]]:
        for draw in range(_RANDOM_DRAWS):
            parent = self._parent(rng) if draw % 2 else None
            yield recorded(self.space, _chooser(rng, parent or {}))
        if _at_least(self.space) <= _ENUMERATED:
            left = list(enumerate_space(self.space, _ENUMERATED))
            rng.shuffle(left)
            yield from left
        else:
            yield from self._beside(rng)

    def _beside(self, rng: random.Random) -> Iterator[tuple[C, dict[str, Any]]]:
        """All that differs in one choice from a candidate that was not rejected."""
        parents = [entry.params for entry in self.record.entries if entry.kind != "rejected"]
        rng.shuffle(parents)
        for parent in parents:
            for name, option in single_changes(self.space, parent):
                yield recorded(self.space, looking_up({**parent, name: option}))

    def _parent(self, rng: random.Random) -> Mapping[str, Any] | None:
        """Choices to vary: of something not rejected, or of something that nearly was not.

        What an evaluation found does not matter, so that draws do not depend on which have ended.
        """
        entries = self.record.entries
        accepted = [entry for entry in entries if entry.kind != "rejected"]
        nearly = sorted(entries, key=lambda e: _beyond(self.constraints, e.evaluation.values))[:_PARENTS]
        chosen = accepted or nearly
        return rng.choice(chosen).params if chosen else None


def _at_least(space: Space[Any]) -> int:
    """A number of encodings; exact where no choice depends on another."""
    counts: list[int] = []

    def count(_name: str, options: Sequence[Any]) -> Any:
        counts.append(len(options))
        return options[0]

    space.build(count)
    return math.prod(counts)


def _beyond(constraints: Sequence[Constraint], values: Mapping[str, Value]) -> float:
    return sum(c.violation(values[c.name].x) for c in broken(constraints, values))


def _chooser(rng: random.Random, parent: Mapping[str, Any]) -> Callable[[str, Sequence[Any]], Any]:
    def choose(name: str, options: Sequence[Any]) -> Any:
        if name in parent and rng.random() < _KEEP:
            return parent[name]
        return rng.choice(options)

    return choose
