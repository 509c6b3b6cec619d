"""Which architectures to measure for a profile."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import Chooser, SearchSpace
from mobinas.arch.stage_space import StageSpace
from mobinas.errors import PredictorError


def sample_for_profile(space: SearchSpace | StageSpace, n: int, rng: random.Random) -> list[Architecture]:
    """Architectures that cover a space: its macro corners first, then each macro choice about equally often.

    Predictions inside of what was measured are far safer than beyond it, so the smallest and the largest
    networks come first, with random cells or blocks like all others.

    Args:
        space: What predictions will be asked for.
        n: How many; fewer come back only where the space has fewer.
        rng: Draws cells and order.

    Returns:
        Distinct architectures (no two isomorphic).

    Raises:
        PredictorError: n is below 1.
    """
    if n < 1:
        raise PredictorError(f"n is {n}; a profile needs at least 1 architecture")
    if isinstance(space, StageSpace):
        return _sample_stages(space, n, rng)
    axes = (space.resolutions, space.depths, space.widths)
    ends = [sorted({min(axis), max(axis)}, reverse=True) for axis in axes]
    # The largest corner leads: whatever a search finds is smaller.
    corners = list(itertools.product(ends[0], ends[1], ends[2]))
    rest = [macro for macro in space.macros() if macro not in corners]
    rng.shuffle(rest)
    chosen: dict[str, Architecture] = {}
    misses = 0
    for resolution, depth, width in itertools.cycle(corners + rest):
        macro = {"resolution": resolution, "depth": depth, "width": width}
        architecture = space.build(
            lambda name, options, m=macro: m[name] if name in m else rng.choice(options)
        )
        misses = misses + 1 if architecture.digest in chosen else 0
        chosen.setdefault(architecture.digest, architecture)
        if len(chosen) == n or misses > 50 * (len(corners) + len(rest)):
            break
    return list(chosen.values())


# So many draws in a row that were there already end a sample.
_MISSES = 200
_SIZES = ("resolution", "width", "depth", "expansion")


def _sample_stages(space: StageSpace, n: int, rng: random.Random) -> list[Architecture]:
    def sized(pick: Callable[[Sequence[Any]], Any]) -> Chooser:
        def choose(name: str, options: Sequence[Any], /) -> Any:
            is_size = name.partition("(")[0].endswith(_SIZES)
            return pick(options) if is_size else rng.choice(options)

        return choose

    chosen: dict[str, Architecture] = {}
    misses = 0
    for choose in itertools.chain((sized(max), sized(min)), itertools.repeat(sized(rng.choice))):
        architecture = space.build(choose)
        misses = misses + 1 if architecture.digest in chosen else 0
        chosen.setdefault(architecture.digest, architecture)
        if len(chosen) == n or misses > _MISSES:
            return list(chosen.values())
    raise AssertionError("there is no end to draws")
