"""What describes an architecture of cells in few words: its size, its ops, and how its cells are wired.

Single choices of a cell say little by themselves: nodes may be numbered anew, and dozens of choices share
what effect there is.
"""

from collections.abc import Sequence

from mobinas.arch.architecture import Architecture
from mobinas.arch.genotype import N_INPUTS, Cell

MACRO = ("resolution", "depth", "width")


def cell_features(architecture: Architecture, ops: Sequence[str]) -> dict[str, int]:
    """Macro choices, edges of each of the ops over both cells, and the longest path through each cell."""
    body = architecture.cells
    cells = {"normal": body.genotype.normal, "reduction": body.genotype.reduction}
    on_edges = [edge.op for cell in cells.values() for _, edge in cell.edges()]
    return {
        "resolution": architecture.resolution,
        "depth": body.depth,
        "width": body.width,
        **{f"{op} edges": on_edges.count(op) for op in ops},
        **{f"longest path, {name} cell": longest_path(cell) for name, cell in cells.items()},
    }


def longest_path(cell: Cell) -> int:
    """Most nodes in a row between an input and the output of a cell."""
    lengths = [0] * N_INPUTS
    for edges in cell.nodes:
        lengths.append(1 + max(lengths[edge.source] for edge in edges))
    return max(lengths)
