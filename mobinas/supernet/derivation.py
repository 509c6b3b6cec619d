"""From probabilities to cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.supernet.history import skips

if TYPE_CHECKING:
    from mobinas.supernet.guard import Guard
    from mobinas.supernet.relaxation import Judge, Tune


def likeliest_genotype(probabilities: Probabilities, space: SearchSpace) -> Genotype:
    """The probabilities' mode within one op set of the space: the set whose mode is the likeliest."""
    modes = [probabilities.genotype(ops) for ops in space.op_sets]
    return max(modes, key=probabilities.log_likelihood)


def guarded_genotype(
    probabilities: Probabilities, space: SearchSpace, guards: Sequence["Guard"], judge: "Judge", tune: "Tune"
) -> tuple[Genotype, tuple[str, ...]]:
    """The genotype that the guards derive, the likeliest one without any; and what they changed."""
    genotype = plain = likeliest_genotype(probabilities, space)
    events = []
    for guard in guards:
        if guard.derive:
            genotype = guard.derive(probabilities, space, judge, tune)
            if genotype != plain:
                events.append(
                    f"{guard.name} changed the cells: {skips(genotype)} instead of {skips(plain)} skip "
                    "connections in the normal one"
                )
    return genotype, tuple(events)
