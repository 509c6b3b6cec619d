"""The search network: cells whose every edge holds every op, weighted by a relaxation."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mobinas.arch.genotype import N_INPUTS
from mobinas.arch.ops import OPS
from mobinas.arch.probabilities import edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.errors import ArchitectureError
from mobinas.nets.module import GraphModule
from mobinas.supernet.edge_op import Preprocessing
from mobinas.supernet.mixed import MixedEdges, weighted_sum
from mobinas.supernet.relaxation import CellWeights, Mixture, Relaxation
from mobinas.supernet.skeleton import CellSite, skeleton


def search_ops(space: SearchSpace) -> tuple[str, ...]:
    """Every op of the space's sets, ``none`` included where a set has it, in the order of `OPS`."""
    given = {op for ops in space.op_sets for op in ops}
    return tuple(op for op in OPS if op in given)


class MixedCell(nn.Module):
    """A cell of mixed ops; each node sums the edges from all earlier ones.

    With a partial factor K > 1 only the first 1/K of a node's channels enter the mixed ops; the others bypass
    them (pooled on edges of stride 2), and a node's channels are shuffled (PC-DARTS, Xu et al., 2020, eq. 1).
    As the shuffle is the same on every edge, it is done once, behind the sum.
    """

    def __init__(
        self, site: CellSite, ops: tuple[str, ...], nodes: int, partial: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.site, self.nodes, self.partial = site, nodes, partial
        self.preprocessing = nn.ModuleList(Preprocessing(graph, generator) for graph in site.preprocessing)
        channels, height, width = site.shape
        self.sources = nn.ModuleList()
        for source in range(N_INPUTS + nodes - 1):
            stride = 2 if site.reduces and source < N_INPUTS else 1
            shrunk = site.reduces and source >= N_INPUTS
            size = (
                (channels // partial, height // 2, width // 2)
                if shrunk
                else (channels // partial, height, width)
            )
            edges = nodes - max(0, source - N_INPUTS + 1)
            self.sources.append(MixedEdges(ops, edges, size, stride, generator))
        slots = edge_slots(nodes)
        # Rows of the weight table that belong to the edges leaving each source, by increasing node,
        # and to those into each node, by increasing source.
        self._rows = [
            [k for k, (_, s) in enumerate(slots) if s == source] for source in range(N_INPUTS + nodes - 1)
        ]
        self._rows_into = [
            [k for k, (n, _) in enumerate(slots) if n == N_INPUTS + number] for number in range(nodes)
        ]

    def forward(self, older: Tensor, newer: Tensor, weights: CellWeights) -> Tensor:
        """Computes the cell.

        Args:
            older: Output of the cell before the previous one, [batch, channels, height, width].
            newer: Output of the previous cell.
            weights: Of ops and edges.

        Returns:
            [batch, nodes * channels, height, width]; halved if the cell reduces.
        """
        values = [self.preprocessing[0](older), self.preprocessing[1](newer)]
        table = weights.ops * weights.edges.unsqueeze(1)
        arriving: list[list[Tensor]] = [[] for _ in range(self.nodes)]
        passing: list[Tensor] = []
        for source, edges in enumerate(self.sources):
            if source >= N_INPUTS:
                values.append(self._node(source - N_INPUTS, arriving, passing, weights, values[0]))
            rows = self._rows[source]
            active, bypass = self._split(values[source], source)
            first = self.nodes - len(rows)
            computed = None if weights.computed is None else weights.computed[rows]
            for k, result in enumerate(edges(active, table[rows], computed)):
                if result is not None:
                    arriving[first + k].append(result)
            if bypass is not None:
                passing.append(bypass)
        values.append(self._node(self.nodes - 1, arriving, passing, weights, values[0]))
        return torch.cat(values[N_INPUTS:], dim=1)

    def _split(self, value: Tensor, source: int) -> tuple[Tensor, Tensor | None]:
        if self.partial == 1:
            return value, None
        cut = value.shape[1] // self.partial
        # Contiguous parts, whose gradients are put together in one step and in channels_last.
        active, bypass = (
            part.contiguous(memory_format=torch.channels_last)
            for part in torch.split(value, [cut, value.shape[1] - cut], dim=1)
        )
        if self.site.reduces and source < N_INPUTS:
            bypass = nn.functional.max_pool2d(bypass, 2, 2)
        return active, bypass

    def _node(
        self,
        number: int,
        arriving: list[list[Tensor]],
        passing: list[Tensor],
        weights: CellWeights,
        like: Tensor,
    ) -> Tensor:
        here = arriving[number]
        if here:
            value = sum(here[1:], here[0])
        else:
            step = 2 if self.site.reduces else 1
            value = torch.zeros_like(like[:, : like.shape[1] // self.partial, ::step, ::step])
        if not passing:
            return value
        value = torch.cat([value, weighted_sum(passing, weights.edges[self._rows_into[number]])], dim=1)
        return nn.functional.channel_shuffle(value, self.partial)


class SearchNetwork(nn.Module):
    """A network over a space's cells, with the relaxation that weights its ops.

    Attributes:
        relaxation: Holds the architecture parameters.
    """

    def __init__(
        self,
        space: SearchSpace,
        relaxation: Relaxation,
        *,
        resolution: int,
        depth: int,
        width: int,
        seed: int,
        partial: int = 1,
    ) -> None:
        """Builds the network in channels_last.

        Args:
            space: Gives ops, nodes, stem and task.
            relaxation: Turns its architecture parameters into weights of ops and edges.
            resolution: Pixels of the input along one axis.
            depth: Number of cells.
            width: Channels of a node in the first cells.
            seed: Draws the initial weights.
            partial: K, where 1/K of the channels enter the mixed ops.

        Raises:
            ArchitectureError: The width is no multiple of the partial factor, or a size that cannot be.
        """
        super().__init__()
        if width % partial or (width // partial) % 2:
            raise ArchitectureError(
                f"width {width} with 1/{partial} of the channels in mixed ops: "
                f"width must be a multiple of {2 * partial}"
            )
        frame = skeleton(space, resolution=resolution, depth=depth, width=width)
        generator = torch.Generator().manual_seed(seed)
        self.relaxation = relaxation
        self._stem_keys, self._sites = frame.stem_keys, frame.cells
        self.stem = GraphModule(frame.stem, seed=_draw_seed(generator))
        self.cells = nn.ModuleList(
            MixedCell(site, relaxation.ops, space.nodes, partial, generator) for site in frame.cells
        )
        self.head = GraphModule(frame.head, seed=_draw_seed(generator))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, mixture: Mixture | None = None) -> Tensor:
        """Computes logits.

        Args:
            image: Normalised, [batch, channels, height, width].
            mixture: Weights of ops and edges, on any device; by default what the relaxation says.

        Returns:
            [batch, classes].
        """
        outputs = self.stem(image.contiguous(memory_format=torch.channels_last))
        values: dict[int, Tensor] = dict(
            zip(self._stem_keys, (outputs,) if isinstance(outputs, Tensor) else outputs, strict=True)
        )
        mixture = (mixture or self.relaxation()).to(image.device)
        last = image
        for site, cell in zip(self._sites, self.cells, strict=True):
            weights = mixture.reduction if site.reduces else mixture.normal
            last = cell(values[site.sources[0]], values[site.sources[1]], weights)
            values[site.key] = last
        logits: Tensor = self.head(last)
        return logits

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters except those of the architecture."""
        architecture = {id(p) for p in self.relaxation.parameters()}
        return (p for p in self.parameters() if id(p) not in architecture)


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31, (1,), generator=generator))
