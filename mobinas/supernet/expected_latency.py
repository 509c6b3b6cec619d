"""The latency that the architecture parameters expect, as a term of the search (ProxylessNAS, section 3.2.1).

Each op of a cell adds what the target's predictor says it adds, so the expectation is linear in the strengths
of ops and edges (https://arxiv.org/abs/1812.00332, eq. 6 and 7) and differentiable.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mobinas.arch.architecture import Architecture, CellBody
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.space import SearchSpace
from mobinas.supernet.relaxation import Mixture

_REFERENCE_S = 1e-3
_LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class OpLatencies:
    """What ops on edges cost on a target, for one size of the network.

    Attributes:
        ops: Names, the columns of tables; the entry of ``none``, which no cell keeps, is 0.
        nodes: Intermediate nodes per cell.
        base_s: Latency without the edges of cells.
        normal_s: By op, what one kept edge adds in all normal cells together.
        reduction_s: The same for the reduction cells.
    """

    ops: tuple[str, ...]
    nodes: int
    base_s: float
    normal_s: tuple[float, ...]
    reduction_s: tuple[float, ...]

    @classmethod
    def of(
        cls,
        predict_s: Callable[[Sequence[Architecture]], Sequence[float]],
        space: SearchSpace,
        ops: Sequence[str],
        size: tuple[int, int, int],
    ) -> "OpLatencies":
        """Asks a predictor for networks whose one cell consists of a single op.

        Args:
            predict_s: Latencies of architectures in seconds.
            space: Gives stem, nodes and task.
            ops: Columns of the tables.
            size: Resolution, depth and width.
        """
        resolution, depth, width = size
        real = [op for op in ops if op != "none"]

        def network(normal: str, reduction: str) -> Architecture:
            cells = (_cell_of(normal, space.nodes), _cell_of(reduction, space.nodes))
            return Architecture(CellBody(Genotype(*cells), depth, width, space.stem), resolution, space.task)

        first, n = real[0], len(real)
        asked = [network(op, first) for op in real] + [network(first, op) for op in real]
        seconds = [float(s) for s in predict_s(asked)]
        edges = 2 * space.nodes
        # Differences to a cell of the first op; what that op costs itself stays in the base.
        normal = {op: (s - seconds[0]) / edges for op, s in zip(real, seconds[:n], strict=True)}
        reduction = {op: (s - seconds[0]) / edges for op, s in zip(real, seconds[n:], strict=True)}
        return cls(
            tuple(ops),
            space.nodes,
            seconds[0],
            tuple(normal.get(op, 0.0) for op in ops),
            tuple(reduction.get(op, 0.0) for op in ops),
        )

    def expected_s(self, normal: Tensor, reduction: Tensor) -> Tensor:
        """The expected latency in seconds.

        Args:
            normal: [edges, ops] strengths of ops on the edges of the normal cells, of any scale; two edges of
                each node count in the end, so the strengths into a node are scaled to a sum of 2.
            reduction: The same for the reduction cells.
        """
        total = torch.as_tensor(self.base_s, dtype=normal.dtype, device=normal.device)
        for table, costs in ((normal, self.normal_s), (reduction, self.reduction_s)):
            real = table.new_tensor([float(op != "none") for op in self.ops])
            table = table * real
            nodes = torch.split(table, [N_INPUTS + k for k in range(self.nodes)])
            for node in nodes:
                kept = 2 * node.sum(0) / node.sum().clamp(min=1e-12)
                total = total + (kept * table.new_tensor(costs)).sum()
        # The predictor is not quite additive.
        return total.clamp(min=_LEAST_SHARE * self.base_s)


@dataclass(frozen=True, slots=True)
class LatencyTerm:
    """How an expected latency counts against an accuracy.

    Both forms follow the score ``accuracy * (latency / target) ** -weight``: a loss gets minus the logarithm
    of its second factor, a reward is multiplied with it. With a target, what is faster gains nothing more.

    Attributes:
        latencies: Of ops.
        weight: The exponent.
        target_s: Without one, every saving counts, and a reward takes 1 ms for the target.
    """

    latencies: OpLatencies
    weight: float
    target_s: float | None = None

    def penalty(self, strengths: tuple[Tensor, Tensor]) -> Tensor:
        """Added to a loss; ``weight * log(latency / target)``."""
        excess = torch.log(self.latencies.expected_s(*strengths) / (self.target_s or _REFERENCE_S))
        return self.weight * (excess if self.target_s is None else excess.clamp(min=0.0))

    def reward(self, accuracy: float, mixture: Mixture) -> float:
        """Of a mixture whose accuracy, in [0, 1], is known."""
        tables = (mixture.normal.ops.detach(), mixture.reduction.ops.detach())
        return accuracy * math.exp(-float(self.penalty(tables)))


def _cell_of(op: str, nodes: int) -> Cell:
    numbers = tuple(range(N_INPUTS, N_INPUTS + nodes))
    # Different sources, since equal ops on one source are computed once; inputs and nodes among them, since
    # edges from inputs alone have stride 2 where a cell reduces.
    return Cell(tuple((Edge(n % 2, op), Edge(n - 1, op)) for n in numbers), numbers)
