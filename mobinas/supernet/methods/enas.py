"""ENAS (Pham et al., 2018, https://arxiv.org/abs/1802.03268): an LSTM controller on shared weights.

The controller writes one cell after the other, node by node: two sources, then their ops (section 2.4).
Weights are trained on cells that it draws; it is trained by REINFORCE with a moving baseline, a term for the
entropy of its choices, and accuracy * latency^-0.07 on a batch as reward. At the end the best of many draws
is taken.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.probabilities import Probabilities, edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.supernet.relaxation import (
    Judge,
    Method,
    Mixture,
    MovingBaseline,
    Relaxation,
    Run,
    best_judged,
)

_HIDDEN = 64
# Logits are tanh(x / 5) * 2.5, so that no choice becomes certain early (the authors' code).
_TEMPERATURE, _BOUND = 5.0, 2.5
_ENTROPY_WEIGHT = 1e-3
_CELLS_PER_STEP = 4
_COUNTED = 100
_JUDGED = 50


class ControllerRelaxation(Relaxation):
    """The controller; its weights are the architecture parameters.

    Attributes:
        baseline: Of the rewards.
    """

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes)
        self._generator = torch.Generator().manual_seed(seed)
        self._real = [k for k, op in enumerate(self.ops) if op != "none"]
        self.baseline = MovingBaseline()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.start = nn.Parameter(torch.empty(1, _HIDDEN))
            self.op_embedding = nn.Embedding(len(self._real), _HIDDEN)
            self.source_embedding = nn.Embedding(N_INPUTS + nodes - 1, _HIDDEN)
            self.lstm = nn.LSTMCell(_HIDDEN, _HIDDEN)
            self.op_logits = nn.Linear(_HIDDEN, len(self._real), bias=False)
            self.source_logits = nn.Linear(_HIDDEN, N_INPUTS + nodes - 1, bias=False)
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -0.1, 0.1)

    def begin_epoch(self, share: float, generator: torch.Generator) -> None:
        """Draws from the epoch's generator from here on."""
        self._generator = generator

    def forward(self) -> Mixture:
        """A drawn genotype."""
        with torch.no_grad():
            return Mixture.of(self.draw(self._generator)[0], self.ops)

    def architecture_loss(self, run: Run) -> Tensor:
        """REINFORCE over a few drawn cells."""
        losses = []
        for _ in range(_CELLS_PER_STEP):
            genotype, likelihood, entropy = self.draw(self._generator)
            with torch.no_grad():
                reward = run(Mixture.of(genotype, self.ops))[1]
            losses.append(-self.baseline.advantage(reward) * likelihood - _ENTROPY_WEIGHT * entropy)
        return torch.stack(losses).mean()

    def probabilities(self) -> Probabilities:
        """How often ops and edges come in 100 drawn cells, each counted once more so that none is 0."""
        generator, slots = torch.Generator().manual_seed(0), edge_slots(self.nodes)
        tables = [torch.ones(len(slots), len(self.ops)) for _ in range(2)]
        for table in tables:
            table[:, [k for k in range(len(self.ops)) if k not in self._real]] = 0.0
        with torch.no_grad():
            for _ in range(_COUNTED):
                mixture = Mixture.of(self.draw(generator)[0], self.ops)
                for table, weights in zip(tables, (mixture.normal, mixture.reduction), strict=True):
                    table += weights.ops
        rows = [table.tolist() for table in tables]
        shares = [table.sum(1).tolist() for table in tables]
        return Probabilities.of(self.ops, rows[0], rows[1], shares[0], shares[1])

    def draw(self, generator: torch.Generator) -> tuple[Genotype, Tensor, Tensor]:
        """A genotype, the logarithm of its probability, and the sum of the choices' entropies."""
        draw = _Draw(self, generator)
        genotype = Genotype(*(self._cell(draw) for _ in range(2)))
        return genotype, draw.likelihood, draw.entropy

    def _cell(self, draw: "_Draw") -> Cell:
        nodes = []
        for number in range(N_INPUTS, N_INPUTS + self.nodes):
            sources: list[int] = []
            for _ in range(2):  # two different ones
                options = [source for source in range(number) if source not in sources]
                sources.append(draw.choose(self.source_logits, self.source_embedding, options))
            every = list(range(len(self._real)))
            ops = [
                self.ops[self._real[draw.choose(self.op_logits, self.op_embedding, every)]] for _ in range(2)
            ]
            nodes.append(tuple(Edge(source, op) for source, op in sorted(zip(sources, ops, strict=True))))
        return Cell(tuple(nodes), tuple(range(N_INPUTS, N_INPUTS + self.nodes)))


class _Draw:
    """A genotype that is being written: where the LSTM stands, and how likely all choices were."""

    def __init__(self, controller: ControllerRelaxation, generator: torch.Generator) -> None:
        self._lstm, self._generator = controller.lstm, generator
        self._hidden = self._cell = torch.zeros_like(controller.start)
        self._inputs: Tensor = controller.start
        self.likelihood = self.entropy = controller.start.new_zeros(())

    def choose(self, to_logits: nn.Linear, embedding: nn.Embedding, options: list[int]) -> int:
        """The next choice; the LSTM is told of it."""
        self._hidden, self._cell = self._lstm(self._inputs, (self._hidden, self._cell))
        logits = to_logits(self._hidden)[0, options]
        shares = torch.softmax(_BOUND * torch.tanh(logits / _TEMPERATURE), dim=0)
        drawn = int(torch.multinomial(shares.detach().cpu(), 1, generator=self._generator))
        self.likelihood = self.likelihood + torch.log(shares[drawn])
        self.entropy = self.entropy + torch.special.entr(shares).sum()
        self._inputs = embedding(torch.tensor([options[drawn]], device=shares.device))
        return options[drawn]


def _best_of_many(relaxation: Relaxation, judge: Judge, space: SearchSpace, seed: int) -> Genotype:
    assert isinstance(relaxation, ControllerRelaxation)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        drawn = [relaxation.draw(generator)[0] for _ in range(_JUDGED)]
    return best_judged(drawn, judge, relaxation.ops)


METHOD = Method(
    name="enas",
    summary="a recurrent controller learns which cells of shared weights do well; for many cheap searches",
    when="throughput of many searches: one controller step costs a few forward passes",
    relax=ControllerRelaxation,
    warm_up_share=0.2,
    learning_rate=3.5e-4,
    derive=_best_of_many,
    mixes=False,
    draws=True,
    latency_weight=0.07,
    rewards=True,
)
