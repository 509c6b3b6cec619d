"""What one stage of a network may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mobinas.arch.blocks import BLOCKS
from mobinas.arch.stages import IDENTITY, Stage, as_tuple, check_known
from mobinas.errors import ArchitectureError


@dataclass(frozen=True, slots=True)
class StageChoices:
    """What one stage may be.

    Attributes:
        widths: Channels of its result.
        depths: Numbers of blocks; 0 leaves the stage out. A block ``identity`` is read as depth 0.
        blocks: Keys of `BLOCKS`; one with the same steps as an earlier one would give the same networks and
            is dropped.
        strides: 1, 2 or both; a block that cannot stride has stride 1.
        kernels: Of those that a block offers; None for all.
        expansions: Of those that a block offers; None for all.
        se: Whether there is squeeze-excitation; None leaves it to the space.

    Raises:
        ArchitectureError: An empty or repeated choice, or one that no stage can take.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    blocks: tuple[str, ...]
    strides: tuple[int, ...] = (1,)
    kernels: tuple[int, ...] | None = None
    expansions: tuple[int, ...] | None = None
    se: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("widths", "depths", "blocks", "strides", "kernels", "expansions", "se"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, as_tuple(name, values))
                check_distinct(name, getattr(self, name))
        for block in self.blocks:
            check_known("block", block, BLOCKS)
        if IDENTITY in self.blocks:
            object.__setattr__(self, "depths", (0, *(d for d in self.depths if d)))
        steps = {BLOCKS[block].steps: block for block in reversed(self.blocks)}
        kept = tuple(b for b in self.blocks if b != IDENTITY and steps[BLOCKS[b].steps] == b)
        object.__setattr__(self, "blocks", kept)
        if not kept:
            raise ArchitectureError("a stage needs a block besides 'identity'")
        if any(type(depth) is not int or depth < 0 for depth in self.depths):
            raise ArchitectureError(f"depths is {list(self.depths)}; these are whole numbers of at least 0")
        if self.se is not None and not all(type(one) is bool for one in self.se):
            raise ArchitectureError(f"se is {list(self.se)}; its options are true and false")
        for block in kept:
            for kernel in self.kernels_of(block):
                for expansion in self.expansions_of(block):
                    Stage(block, self.widths[0], 1, self.strides_of(block)[0], kernel, expansion)

    def kernels_of(self, block: str) -> tuple[int, ...]:
        """The kernels that a block may have here."""
        return _offered(block, "kernels", BLOCKS[block].kernels, self.kernels)

    def expansions_of(self, block: str) -> tuple[int, ...]:
        """The expansions that a block may have here."""
        return _offered(block, "expansions", BLOCKS[block].expansions, self.expansions)

    def strides_of(self, block: str) -> tuple[int, ...]:
        """The strides that a block may have here."""
        if BLOCKS[block].can_stride:
            return self.strides
        if 1 not in self.strides:
            raise ArchitectureError(f"block '{block}' keeps the size; a stage of stride 2 cannot have it")
        return (1,)


def _offered(block: str, what: str, own: tuple[int, ...], asked: tuple[int, ...] | None) -> tuple[int, ...]:
    if not own:
        return (1,)
    left = own if asked is None else tuple(one for one in own if one in asked)
    if not left:
        raise ArchitectureError(f"{what} is {list(asked or ())}; block '{block}' offers {list(own)}")
    return left


def check_distinct(name: str, values: Sequence[Any]) -> None:
    """Refuses a choice without options, or with one twice.

    Raises:
        ArchitectureError: It is so.
    """
    if not values or len(set(values)) != len(values):
        raise ArchitectureError(f"{name} is {list(values)}; it needs at least one value, each once")
