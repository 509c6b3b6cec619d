"""The samplers, one file each: its module's name is the sampler's, and its `make(seed)` makes it.

A sampler is made anew for every proposal, from a seed of its own, so that a resumed study proposes the same
as an uninterrupted one. It keeps what it knows in the study, never in itself. A `PointSampler` may also ask
what is known of a point without an evaluation (`Seen.foretold`).
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from mobinas.errors import SearchError, did_you_mean

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from mobinas.search.seen import Foretell


def sampler_names() -> tuple[str, ...]:
    """The names that `make_sampler` knows."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def make_sampler(name: str, seed: int, foretell: "Foretell | None" = None) -> "BaseSampler":
    """A sampler by name.

    Args:
        name: One of `sampler_names`.
        seed: Of its random generator, 0 to 2^32 - 1.
        foretell: What is known without an evaluation, for samplers that ask.

    Raises:
        SearchError: An unknown name.
    """
    if name not in sampler_names():
        raise SearchError(f"unknown sampler '{name}'{did_you_mean(name, sampler_names())}")
    # Imported here because it loads Optuna, which the list of names does not need.
    from mobinas.search.journal import quiet_optuna
    from mobinas.search.seen import PointSampler

    with quiet_optuna():
        sampler: BaseSampler = importlib.import_module(f"{__name__}.{name}").make(seed)
    if isinstance(sampler, PointSampler):
        sampler.foretell = foretell
    return sampler
