"""The bilevel loop: architecture parameters on one part of the data, weights on another, in turns.

First order (Liu et al., 2019, section 2.3 with xi = 0): the architecture step takes the weights as they are.
Second order: through a step of the weights, see `unrolled`.
"""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.progress import Progress, silent
from mobinas.supernet.derivation import guarded_genotype
from mobinas.supernet.expected_latency import LatencyTerm, OpLatencies
from mobinas.supernet.guard import Guard
from mobinas.supernet.history import EpochRecord, SupernetResult, mean_entropy, skips
from mobinas.supernet.methods import find_method
from mobinas.supernet.network import SearchNetwork, search_ops
from mobinas.supernet.relaxation import Method, Mixture, Relaxation, Tune
from mobinas.supernet.settings import MethodSettings, network_size
from mobinas.supernet.sharpness import dominant_eigenvalue
from mobinas.supernet.stage import in_words, stage_starts
from mobinas.supernet.stage_run import StageRun
from mobinas.supernet.unrolled import unrolled_gradients
from mobinas.train import parallel
from mobinas.train.batches import endless_batches, shuffled_batches
from mobinas.train.optimisation import apply_gradients, shorten
from mobinas.train.splits import Part, Splits

_JUDGED_IMAGES = 512
# Of the search's steps, between two decisions of a guard; a cell of 4 nodes takes 36 decisions.
_TUNED_SHARE = 0.02
_TUNED_RATE = 0.1
# Judged every epoch, so that it must cost little.
_GAP_IMAGES = 256
_SHARPNESS_IMAGES = 128


@dataclass(slots=True)
class BilevelSearch:
    """A search under way.

    Attributes:
        history: Of the epochs done.
        found: The probabilities after each of them.
        stopped: How many epochs count, and why, once a guard has ended the search.
        scale: Factor on both learning rates.
        stage: The one under way.
    """

    space: SearchSpace
    splits: Splits
    settings: MethodSettings
    seed: int
    progress: Progress = silent
    latencies: OpLatencies | None = None
    history: list[EpochRecord] = field(default_factory=list)
    found: list[Probabilities] = field(default_factory=list)
    stopped: tuple[int, str] | None = None
    scale: float = 1.0
    guards: tuple[Guard, ...] = field(init=False)
    method: Method = field(init=False)
    stage: StageRun = field(init=False)
    # Draws what guards draw in the steps of an epoch.
    _chance: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._chance = torch.Generator().manual_seed(self.seed)
        self.method = find_method(self.settings.method)
        self.guards = self.settings.active_guards
        self.stage = self._stage(0, self.method.relax(search_ops(self.space), self.space.nodes, self.seed))

    def _stage(self, number: int, relaxation: Relaxation, before: SearchNetwork | None = None) -> StageRun:
        part = self.splits.weights
        return StageRun.begin(
            number, self.space, self.settings, relaxation, part=part, seed=self.seed, before=before
        )

    @property
    def network(self) -> SearchNetwork:
        """The stage's."""
        return self.stage.network

    @property
    def relaxation(self) -> Relaxation:
        """The same in all stages."""
        return self.stage.network.relaxation

    @property
    def _latency_term(self) -> LatencyTerm | None:
        weight = self.settings.latency_exponent
        if self.latencies is None or not weight:
            return None
        return LatencyTerm(self.latencies, weight, self.settings.target_latency_s)

    @property
    def _share(self) -> float:
        return self.stage.share(len(self.history))

    @property
    def epochs_done(self) -> int:
        """Whole epochs so far; all of them once a guard has ended the search."""
        return self.settings.epochs if self.stopped else len(self.history)

    def epoch(self) -> bool:
        """Runs one epoch; False (and an unusable state) when something was not finite."""
        number, started = len(self.history), time.perf_counter()
        # Draws depend on seed and epoch alone, so a search that is resumed repeats them.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        self._enter_stage(number, generator)
        batch_size, moves = self.settings.batch_size, self.stage.moves(number)
        alpha_batches = endless_batches(len(self.splits.alphas), batch_size, generator)
        self.relaxation.begin_epoch(self._share, generator)
        self._chance = generator
        weight_sums, alpha_sums = torch.zeros(3), torch.zeros(3)
        self.network.train()
        for k, positions in enumerate(shuffled_batches(len(self.splits.weights), batch_size, generator)):
            rate = self.scale * self.stage.rate(number, k)
            if moves:
                alpha_sums += torch.tensor(self.alpha_step(next(alpha_batches), positions, rate))
                if not bool(torch.isfinite(alpha_sums).all()):
                    return False
            weight_sums += torch.tensor(self.weight_step(positions, rate))
            if not bool(torch.isfinite(weight_sums).all()):
                return False
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            return False
        self._record(weight_sums.tolist(), alpha_sums.tolist(), started)
        loss = self.history[-1].weight_loss
        self.progress(number + 1, self.settings.epochs, f"supernet epoch {number + 1}, loss {loss:.3f}")
        return True

    def _enter_stage(self, epoch: int, generator: torch.Generator) -> None:
        stages = self.settings.stages
        number = sum(start <= epoch for start in stage_starts(self.settings.epochs, len(stages))) - 1
        if number != self.stage.number:
            self.relaxation.narrow(stages[number].left_of(len(self.relaxation.ops)), generator)
            self.stage = self._stage(number, self.relaxation, before=self.network)

    def alpha_step(
        self, positions: Tensor, weight_positions: Tensor | None = None, rate: float = 0.0
    ) -> tuple[float, float, float]:
        """Moves the architecture by one batch of the alphas part; the weights get no gradient.

        Args:
            positions: Of the images.
            weight_positions: Those of the weight step to come, for the second order.
            rate: Its learning rate.

        Returns:
            Sum of the losses, right answers, images.
        """
        assert self.stage.alpha_optimiser is not None, (
            "a method without architecture parameters has no such step"
        )
        for group in self.stage.alpha_optimiser.param_groups:
            group["lr"] = self.stage.alpha_learning_rate * self.scale
        alphas: list[nn.Parameter] = self.stage.alpha_optimiser.param_groups[0]["params"]
        seen: list[tuple[float, float, float]] = []
        term = self._latency_term

        def run(mixture: Mixture) -> tuple[Tensor, float]:
            value, counted = self._loss(self.splits.alphas, positions, mixture)
            seen.append(counted)
            reward = counted[1] / counted[2]
            if term is not None and self.method.rewards:
                reward = term.reward(reward, mixture)
            return value, reward

        def loss() -> Tensor:
            value = self.relaxation.architecture_loss(run)
            if term is not None and not self.method.rewards:
                strengths = self.relaxation.strengths()
                value = value if strengths is None else value + term.penalty(strengths)
            for guard in self.guards:
                if guard.penalty:
                    value = value + guard.penalty(self.relaxation, self._share)
            return value * parallel.fraction(positions)

        gradients = self._alpha_gradients(alphas, loss, weight_positions, rate)
        given = [g for g in gradients if g is not None]
        if not all(bool(torch.isfinite(g).all()) for g in given):
            return math.nan, *seen[0][1:]
        for guard in self.guards:
            if guard.clip:
                guard.clip(given)
        apply_gradients(self.stage.alpha_optimiser, alphas, gradients)
        self.relaxation.end_step()
        return seen[0]

    def _alpha_gradients(
        self,
        alphas: list[nn.Parameter],
        loss: Callable[[], Tensor],
        weight_positions: Tensor | None,
        rate: float,
    ) -> Sequence[Tensor | None]:
        # Only these get gradients: cheaper than backward(), and nothing is left for the other step.
        if self.settings.order == 1:
            return parallel.gradients(loss(), alphas)
        assert weight_positions is not None, "the second order steps on a batch of the weights part"
        return unrolled_gradients(
            alphas,
            self.stage.weight_optimiser.param_groups[0]["params"],
            weight_loss=lambda: self._share_of_loss(self.splits.weights, weight_positions),
            alpha_loss=loss,
            rate=rate,
            optimiser=self.stage.weight_optimiser,
        )

    def weight_step(
        self, positions: Tensor, rate: float, mixture: Mixture | None = None
    ) -> tuple[float, float, float]:
        """Moves the weights by one batch of the weights part; the architecture gets no gradient.

        Args:
            positions: Of the images.
            rate: The learning rate.
            mixture: By default the relaxation's, changed by the guards.

        Returns:
            Sum of the losses, right answers, images.
        """
        for group in self.stage.weight_optimiser.param_groups:
            group["lr"] = rate
        for guard in self.guards if mixture is None else ():
            if guard.mix:
                relaxation = self.relaxation
                mixture = guard.mix(mixture or relaxation(), relaxation.ops, self._share, self._chance)
        weights: list[nn.Parameter] = self.stage.weight_optimiser.param_groups[0]["params"]
        loss, counted = self._loss(self.splits.weights, positions, mixture)
        if math.isfinite(counted[0]):
            gradients = parallel.gradients(loss * parallel.fraction(positions), weights)
            shorten([g for g in gradients if g is not None], self.settings.gradient_clip)
            apply_gradients(self.stage.weight_optimiser, weights, gradients)
        return counted

    def _loss(
        self, part: Part, positions: Tensor, mixture: Mixture | None = None
    ) -> tuple[Tensor, tuple[float, float, float]]:
        """The mean loss of this process's share; and of all: the sum of the losses, right answers, images."""
        mine = parallel.share(positions)
        labels = part.labels[mine]
        logits = self.network(self.splits.normalisation(part.batch(mine, self.stage.resolution)), mixture)
        loss = nn.functional.cross_entropy(logits, labels)
        right = int((logits.detach().argmax(dim=1) == labels).sum())
        losses, right_answers, images = parallel.total((float(loss.detach()) * len(mine), right, len(mine)))
        return loss, (losses, right_answers, images)

    def _share_of_loss(self, part: Part, positions: Tensor) -> Tensor:
        """What this process adds to the mean loss of all."""
        return self._loss(part, positions)[0] * parallel.fraction(positions)

    def judge(self, mixture: Mixture | None, images: int = _JUDGED_IMAGES) -> float:
        """Accuracy of a mixture with the shared weights, on (at most so many images of) the alphas part.

        Batch normalisation takes the statistics of the images themselves, as those of the search are of no
        single subnet.

        Args:
            mixture: `Mixture.of` a genotype judges this; None the network as it stands.
            images: The first so many of the part.
        """
        part, right, n = self.splits.alphas, 0.0, min(len(self.splits.alphas), images)
        before = [buffer.clone() for buffer in self.network.buffers()]
        self.network.train()
        self.relaxation.eval()
        with torch.no_grad():
            for positions in torch.arange(n).tensor_split(max(1, round(n / 128))):
                right += self._loss(part, positions, mixture)[1][1]
            for buffer, old in zip(self.network.buffers(), before, strict=True):
                buffer.copy_(old)
        return right / n

    def tuner(self) -> Tune:
        """Trains the weights a little more at each call, with a mixture that stays, on ever new batches."""
        generator = torch.Generator().manual_seed(self.seed)
        batches = endless_batches(len(self.splits.weights), self.settings.batch_size, generator)
        steps = max(1, round(_TUNED_SHARE * self.stage.steps * self.settings.epochs))

        def tune(mixture: Mixture) -> None:
            self.network.train()
            for positions in itertools.islice(batches, steps):
                self.weight_step(positions, _TUNED_RATE * self.stage.learning_rate * self.scale, mixture)

        return tune

    def result(self) -> SupernetResult:
        """What the search found: at its end, or where a guard went back to."""
        epochs, reason = self.stopped or (len(self.history), "")
        found = self.found[epochs - 1]
        settings = self.settings
        depths = network_size(self.space, settings)[1], max(self.space.depths)
        events = [*in_words(settings.stages, settings.epochs, depths, len(self.relaxation.ops))][
            : self.stage.number + 1
        ]
        events += [f"stopped after epoch {epochs}: {reason}"] if self.stopped else []
        if self.method.derive:
            genotype = self.method.derive(self.relaxation, self.judge, self.space, self.seed)
            return SupernetResult(found, genotype, tuple(self.history), tuple(events))
        genotype, changes = guarded_genotype(found, self.space, self.guards, self.judge, self.tuner())
        return SupernetResult(found, genotype, tuple(self.history), (*events, *changes))

    def _record(self, weights: list[float], alphas: list[float], started: float) -> None:
        found = self.relaxation.probabilities()
        genotype, moved = found.genotype(), alphas[2] > 0
        gap = eigenvalue = None
        if self.method.mixes:
            cell = Mixture.of(genotype, self.relaxation.ops)
            gap = self.judge(None, _GAP_IMAGES) - self.judge(cell, _GAP_IMAGES)
            if any(guard.eigenvalue for guard in self.guards):
                eigenvalue = self._eigenvalue()
        strengths = self.relaxation.strengths()
        expected_s = None
        if self.latencies is not None and strengths is not None:
            expected_s = float(self.latencies.expected_s(*strengths).detach())
        self.history.append(
            EpochRecord(
                weights[0] / weights[2],
                weights[1] / weights[2],
                alphas[0] / alphas[2] if moved else None,
                alphas[1] / alphas[2] if moved else None,
                None if self.method.derive else skips(genotype) / sum(1 for _ in genotype.normal.edges()),
                mean_entropy(found),
                time.perf_counter() - started,
                gap,
                eigenvalue,
                expected_s,
            )
        )
        self.found.append(found)
        # What an earlier stage or the warm-up saw says nothing about this network or these alphas.
        start = self.stage.first_epoch + self.stage.warm_up_epochs
        for guard in self.guards if len(self.history) > start else ():
            if guard.stop and not self.stopped:
                end = guard.stop(self.history[start:], self.found[start:])
                self.stopped = None if end is None else (start + end[0], end[1])

    def _eigenvalue(self) -> float:
        positions = torch.arange(min(len(self.splits.alphas), _SHARPNESS_IMAGES))
        return dominant_eigenvalue(
            lambda: self._share_of_loss(self.splits.alphas, positions),
            list(self.relaxation.parameters()),
            torch.Generator().manual_seed(self.seed),
        )

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch; not a copy."""
        return {
            "stage": self.stage.number,
            **self.stage.state(),
            "history": [asdict(record) for record in self.history],
            "found": [one.to_json() for one in self.found],
            "stopped": None if self.stopped is None else list(self.stopped),
            "scale": self.scale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state of this search."""
        if state["stage"] != self.stage.number:
            self.stage = self._stage(state["stage"], self.relaxation)
        self.stage.restore(state)
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.found = [Probabilities.from_json(one) for one in state["found"]]
        self.stopped = None if state["stopped"] is None else (state["stopped"][0], state["stopped"][1])
        self.scale = state["scale"]
