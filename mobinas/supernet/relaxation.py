"""What a one-shot method is made of: architecture parameters and how they weight ops and edges."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mobinas.arch.genotype import N_INPUTS, Cell, Genotype
from mobinas.arch.probabilities import Probabilities, edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.supernet.stage import Stage

# Xu et al. and Liu et al. start all alphas near zero, so that no op has a lead.
INITIAL_STD = 1e-3
_BASELINE_DECAY = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class CellWeights:
    """What multiplies each op on each edge of a cell.

    Attributes:
        ops: [edges, ops].
        edges: [edges].
        computed: [edges, ops], which ops are computed at all; None for all.
    """

    ops: Tensor
    edges: Tensor
    computed: Tensor | None = None

    @classmethod
    def of(cls, cell: Cell, ops: Sequence[str]) -> "CellWeights":
        """1 for each edge and op of a cell, 0 for all others."""
        slots = {slot: k for k, slot in enumerate(edge_slots(len(cell.nodes)))}
        table = torch.zeros(len(slots), len(ops))
        for number, edge in cell.edges():
            table[slots[number, edge.source], ops.index(edge.op)] = 1.0
        return cls(table, torch.ones(len(slots)), table != 0)

    def to(self, device: torch.device) -> "CellWeights":
        """The same with `ops` and `edges` on a device; `computed`, which steers, goes to the CPU."""
        computed = None if self.computed is None else self.computed.cpu()
        return CellWeights(self.ops.to(device), self.edges.to(device), computed)


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Weights of both cells for one forward pass."""

    normal: CellWeights
    reduction: CellWeights

    @classmethod
    def of(cls, genotype: Genotype, ops: Sequence[str]) -> "Mixture":
        """The subnet of a genotype alone."""
        return cls(CellWeights.of(genotype.normal, ops), CellWeights.of(genotype.reduction, ops))

    def to(self, device: torch.device) -> "Mixture":
        """The same for a network on a device."""
        return Mixture(self.normal.to(device), self.reduction.to(device))


class Relaxation(nn.Module, ABC):
    """Architecture parameters of one method; registered, so that they are saved with the network.

    Attributes:
        ops: Names of the ops.
        nodes: Intermediate nodes per cell.
    """

    def __init__(self, ops: Sequence[str], nodes: int) -> None:
        super().__init__()
        self.ops, self.nodes = tuple(ops), nodes

    def begin_epoch(self, share: float, generator: torch.Generator) -> None:
        """Called before each epoch.

        Args:
            share: How far the stage is: 0 in its first epoch, 1 in its last.
            generator: Whatever the epoch draws comes from it, so that a resumed search repeats it.
        """

    def narrow(self, ops: int, generator: torch.Generator) -> None:
        """Called before each stage but the first.

        Args:
            ops: How many the stage leaves on each edge.
            generator: See `begin_epoch`.
        """
        assert ops == len(self.ops), f"{type(self).__name__} keeps all ops"

    @abstractmethod
    def forward(self) -> Mixture:
        """The weights for the next weight step; where `architecture_loss` uses them, differentiable."""

    def architecture_loss(self, run: "Run") -> Tensor:
        """What an architecture step lowers; by default the loss of the next forward pass.

        Args:
            run: Passes a batch of the alphas part through the network.
        """
        return run(self())[0]

    def end_step(self) -> None:
        """Called when an architecture step has moved the parameters."""

    def strengths(self) -> tuple[Tensor, Tensor] | None:
        """[edges, ops] strengths of ops on edges in both cells, differentiable; None where there are none."""
        return None

    @abstractmethod
    def probabilities(self) -> Probabilities:
        """What the parameters say at this point."""


class AlphaRelaxation(Relaxation):
    """A table of alphas for each of the two cells; their softmax over the ops of an edge is what they say.

    Attributes:
        normal: [edges, ops] alphas of the normal cells.
        reduction: [edges, ops] alphas of the reduction cells.
        generator: Drew the initial alphas; draws what an epoch draws.
    """

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes)
        self.generator = torch.Generator().manual_seed(seed)
        self.normal = initial_alphas(nodes, len(self.ops), self.generator)
        self.reduction = initial_alphas(nodes, len(self.ops), self.generator)

    def begin_epoch(self, share: float, generator: torch.Generator) -> None:
        """Draws from the epoch's generator from here on."""
        self.generator = generator

    def shares(self) -> tuple[Tensor, Tensor]:
        """[edges, ops] softmaxed alphas of the normal and of the reduction cells."""
        return torch.softmax(self.normal, dim=1), torch.softmax(self.reduction, dim=1)

    def strengths(self) -> tuple[Tensor, Tensor]:
        """The shares; all edges are as strong."""
        return self.shares()

    def probabilities(self) -> Probabilities:
        """The shares; every edge has the same."""
        with torch.no_grad():
            rows = [table.tolist() for table in self.shares()]
        even = [1.0] * len(self.normal)
        return Probabilities.of(self.ops, rows[0], rows[1], even, even)


# The loss of a mixture on one batch, and its reward: its accuracy there in [0, 1] and, where the search knows
# the latencies of ops, how fast it is.
Run = Callable[[Mixture], tuple[Tensor, float]]

# The accuracy of a mixture with the shared weights, on the part that trains the architecture.
Judge = Callable[[Mixture], float]

# Trains the shared weights a little more with a mixture.
Tune = Callable[[Mixture], None]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to search, as chosen by name.

    Attributes:
        name: Key in `METHODS`.
        summary: What it does, in one line.
        when: When to take it, in one line.
        relax: Makes the relaxation from ops, nodes and a seed.
        warm_up_share: Share of a stage's epochs before the architecture parameters move.
        learning_rate: Of the architecture parameters, as published.
        momentum: First beta of their Adam.
        weight_decay: Of the architecture parameters.
        derive: Finds the genotype at the end from the relaxation, a judge of mixtures, the space and a seed;
            without one, it is the mode of the probabilities.
        mixes: Whether the ops of an edge are computed together, weighted by differentiable parameters.
        draws: Whether two passes of the same parameters may differ.
        guards: Against collapse, by default.
        stages: What the search network is rebuilt for along the way.
        latency_weight: By default, of the expected latency in the loss or the reward.
        rewards: Whether it learns from rewards instead of the gradient of the loss.
    """

    name: str
    summary: str
    when: str
    relax: Callable[[Sequence[str], int, int], Relaxation]
    warm_up_share: float
    learning_rate: float
    momentum: float = 0.5
    weight_decay: float = 1e-3
    derive: Callable[[Relaxation, Judge, SearchSpace, int], Genotype] | None = None
    mixes: bool = True
    draws: bool = False
    guards: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = (Stage(),)
    latency_weight: float = 0.0
    rewards: bool = False


class MovingBaseline(nn.Module):
    """What rewards usually are, so that REINFORCE (Williams, 1992) learns from the difference.

    Attributes:
        value: Moving mean of the rewards; below 0 before the first.
    """

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(-1.0))

    def advantage(self, reward: float) -> float:
        """How much better than usual a reward is; moves the baseline towards it."""
        usual = float(self.value) if float(self.value) >= 0 else reward
        self.value.fill_(_BASELINE_DECAY * usual + (1 - _BASELINE_DECAY) * reward)
        return reward - usual


def best_judged(genotypes: Sequence[Genotype], judge: Judge, ops: Sequence[str]) -> Genotype:
    """The genotype whose subnet does best with the shared weights."""
    return max(genotypes, key=lambda genotype: judge(Mixture.of(genotype, ops)))


def drop_skips(mixture: Mixture, ops: Sequence[str], rate: float, generator: torch.Generator) -> Mixture:
    """Operation-level dropout: each edge loses its skip connection at this rate, else that is scaled up.

    Args:
        mixture: Of these ops.
        ops: Their names.
        rate: In [0, 1).
        generator: Draws.
    """
    if "skip_connect" not in ops or rate <= 0:
        return mixture
    column = ops.index("skip_connect")

    def dropped(weights: CellWeights) -> CellWeights:
        kept = torch.rand(len(weights.ops), generator=generator).to(weights.ops) >= rate
        factors = torch.ones_like(weights.ops)
        factors[:, column] = kept.to(factors) / (1 - rate)
        return replace(weights, ops=weights.ops * factors)

    return Mixture(dropped(mixture.normal), dropped(mixture.reduction))


def initial_alphas(nodes: int, ops: int, generator: torch.Generator) -> nn.Parameter:
    """[edges, ops] small random numbers."""
    return nn.Parameter(INITIAL_STD * torch.randn(len(edge_slots(nodes)), ops, generator=generator))


def initial_betas(nodes: int, generator: torch.Generator) -> nn.Parameter:
    """[edges] small random numbers."""
    return nn.Parameter(INITIAL_STD * torch.randn(len(edge_slots(nodes)), generator=generator))


def softmax_by_node(betas: Tensor, nodes: int) -> Tensor:
    """Softmax over the edges into each node: [edges] to [edges], each node's sum 1."""
    counts = [N_INPUTS + k for k in range(nodes)]
    return torch.cat([torch.softmax(part, dim=0) for part in torch.split(betas, counts)])
