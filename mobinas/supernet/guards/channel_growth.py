"""Few channels in the mixed ops at first, all of them at last (DrNAS, Chen et al., 2021, section 3.3)."""

from mobinas.supernet.guard import Guard
from mobinas.supernet.stage import Stage

# https://arxiv.org/abs/2006.10355; ops without weights gain less where few channels are mixed.
GUARD = Guard(
    name="channel_growth",
    summary="a quarter of the channels in the mixed ops, then half, then all; weights are taken along",
    mixed_only=True,
    stages=(Stage(partial=4), Stage(partial=2), Stage()),
)
