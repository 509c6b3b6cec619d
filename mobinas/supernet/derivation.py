"""From probabilities to cells."""

from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace


def likeliest_genotype(probabilities: Probabilities, space: SearchSpace) -> Genotype:
    """The probabilities' mode within one op set of the space: the set whose mode is the likeliest."""
    modes = [probabilities.genotype(ops) for ops in space.op_sets]
    return max(modes, key=probabilities.log_likelihood)
