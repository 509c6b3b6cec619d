"""At most two skip connections in the normal cell (P-DARTS, Chen et al., 2019, section 3.2.2)."""

from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities, edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.supernet.derivation import likeliest_genotype
from mobinas.supernet.guard import Guard
from mobinas.supernet.history import skips
from mobinas.supernet.relaxation import Judge, Tune

_MOST = 2


def _derive(probabilities: Probabilities, space: SearchSpace, judge: Judge, tune: Tune) -> Genotype:
    found = likeliest_genotype(probabilities, space)
    while skips(found) > _MOST and space.ops() != ("skip_connect",):
        probabilities = _without_weakest_skip(probabilities, found)
        found = likeliest_genotype(probabilities, space)
    return found


def _without_weakest_skip(probabilities: Probabilities, genotype: Genotype) -> Probabilities:
    slots, column = edge_slots(probabilities.nodes), probabilities.ops.index("skip_connect")
    chosen = [
        slots.index((number, edge.source))
        for number, edge in genotype.normal.edges()
        if edge.op == "skip_connect"
    ]
    rows = [list(row) for row in probabilities.normal]
    weakest = min(chosen, key=lambda k: rows[k][column])
    rows[weakest][column] = 0.0
    real = [float(op not in ("none", "skip_connect")) for op in probabilities.ops]
    if not any(share * is_real for share, is_real in zip(rows[weakest], real, strict=True)):
        rows[weakest] = real  # all that was left of the edge; any other op is as good
    return Probabilities.of(
        probabilities.ops,
        rows,
        probabilities.reduction,
        probabilities.normal_edges,
        probabilities.reduction_edges,
    )


GUARD = Guard(
    name="skip_limit",
    summary="at most 2 skip connections in the normal cell; the weakest give way to the next best ops",
    derive=_derive,
)
