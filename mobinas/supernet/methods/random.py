"""Random search with weight sharing (Li and Talwalkar, 2019, https://arxiv.org/abs/1902.07638).

The baseline that any method has to beat: each step trains one uniformly drawn cell on the shared weights; at
the end the best of 50 drawn cells is taken. The probabilities stay even. Of one op on several edges from one
node, momentum and weight decay move all weights when one of the edges is drawn.
"""

import random
from collections.abc import Sequence

import torch

from mobinas.arch.architecture import Task
from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.supernet.relaxation import Judge, Method, Mixture, Relaxation, best_judged

_JUDGED = 50


class RandomRelaxation(Relaxation):
    """Another uniformly drawn cell at each call; no parameters."""

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes)
        self._even = Probabilities.uniform(self.ops, nodes)
        # The sizes do not matter: only cells are drawn from it.
        self._cells = SearchSpace(Task(2), (8,), (2,), (2,), (self.ops,), nodes)
        self._rng = random.Random(seed)

    def begin_epoch(self, share: float, generator: torch.Generator) -> None:
        """Draws from the epoch's generator from here on."""
        self._rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))

    def forward(self) -> Mixture:
        """One genotype."""
        return Mixture.of(self._cells.sample(self._rng).cells.genotype, self.ops)

    def probabilities(self) -> Probabilities:
        """Even, always."""
        return self._even


def _best_of_many(relaxation: Relaxation, judge: Judge, space: SearchSpace, seed: int) -> Genotype:
    rng = random.Random(seed)
    drawn = [space.sample(rng).cells.genotype for _ in range(_JUDGED)]
    return best_judged(drawn, judge, relaxation.ops)


METHOD = Method(
    name="random",
    summary="uniformly drawn cells on shared weights, the best of 50 at the end; the baseline to beat",
    when="always beside another method: what it does not beat, it did not find",
    relax=RandomRelaxation,
    warm_up_share=0.0,
    learning_rate=0.0,
    derive=_best_of_many,
    mixes=False,
    draws=True,
)
