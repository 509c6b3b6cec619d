"""What a one-shot search saw and found, and figures that tell a collapse."""

import math
from dataclasses import dataclass

from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch of the search saw.

    Attributes:
        weight_loss: Mean cross-entropy of the weight steps, on the weights part.
        weight_accuracy: Share of right answers there, in [0, 1].
        alpha_loss: The same of the architecture steps, on the alphas part; None in the warm-up.
        alpha_accuracy: Share of right answers there; None in the warm-up.
        skip_share: Share of skip connections in the normal cell that the epoch's end would give; None for
            methods that derive the cell in another way than by its probabilities.
        alpha_entropy: Mean entropy of the ops on an edge over its largest possible one, in [0, 1].
        seconds: Wall-clock time.
        discretisation_gap: Accuracy of the mixed network minus that of the cell it would give, on the same
            images of the alphas part; None for methods that never mix ops.
        eigenvalue: Dominant eigenvalue of the Hessian of the loss on the alphas part in the architecture
            parameters; None unless a guard asks.
        expected_latency_s: Latency that the strengths of ops and edges expect, at the size that the latencies
            of ops are of; None where the search does not know the latencies of ops.
    """

    weight_loss: float
    weight_accuracy: float
    alpha_loss: float | None
    alpha_accuracy: float | None
    skip_share: float | None
    alpha_entropy: float
    seconds: float
    discretisation_gap: float | None = None
    eigenvalue: float | None = None
    expected_latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class SupernetResult:
    """What a one-shot search found.

    Attributes:
        probabilities: Of ops and edges.
        genotype: Their mode within one op set of the space, or what the method derives in another way.
        history: One record an epoch.
        events: What the guards did, in words.
    """

    probabilities: Probabilities
    genotype: Genotype
    history: tuple[EpochRecord, ...]
    events: tuple[str, ...] = ()


def skips(genotype: Genotype) -> int:
    """Skip connections of the normal cell, whose number tells a collapse (Liang et al., 2019, DARTS+)."""
    return sum(edge.op == "skip_connect" for _, edge in genotype.normal.edges())


def mean_entropy(probabilities: Probabilities) -> float:
    """Mean entropy of the ops on an edge, over that of a uniform choice; in [0, 1]."""
    if len(probabilities.ops) == 1:
        return 0.0
    rows = probabilities.normal + probabilities.reduction
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in rows]
    return sum(entropies) / len(rows) / math.log(len(probabilities.ops))
