"""A front of one's own: three objectives, named choices, and a hard constraint, without any job."""

import itertools
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from mobinas import ChoiceSpace, Infeasible, Objective, pareto_search

SPACE = ChoiceSpace({"layers": (1, 2, 3), "width": (4, 8, 16, 32, 64), "activation": ("relu", "tanh")})
# Any names will do: the latency of another device, its 95th percentile, peak memory, parameters.
OBJECTIVES = (
    Objective("accuracy", "maximize"),
    Objective("p95_s", "minimize", "s"),
    Objective("macs", "minimize"),
)
IMAGES, LABELS = load_digits(return_X_y=True)


def known(choices):
    """Costs nothing, so it is told before the evaluation: what breaks a constraint is never trained."""
    sizes = [64, *[choices["width"]] * choices["layers"], 10]
    return {"macs": sum(a * b for a, b in itertools.pairwise(sizes))}


def evaluate(choices):
    network = MLPClassifier([choices["width"]] * choices["layers"], choices["activation"], random_state=0)
    for _ in range(6):
        network.partial_fit(IMAGES[:1000] / 16, LABELS[:1000], classes=range(10))
    accuracy = network.score(IMAGES[1000:] / 16, LABELS[1000:])
    if accuracy < 0.2:
        raise Infeasible("it did not learn")
    return {"accuracy": accuracy, "p95_s": p95_s(network)}


def p95_s(network):
    times_s = []
    for image in IMAGES[:60]:
        began = time.perf_counter()
        network.predict(image[None] / 16)
        times_s.append(time.perf_counter() - began)
    return float(np.quantile(times_s, 0.95))


if __name__ == "__main__":
    result = pareto_search(
        SPACE,
        evaluate,
        OBJECTIVES,
        constraints={"macs": "<= 8000"},
        prefilter=known,
        n_trials=14,  # distinct ones; with storage=..., a killed search continues
        n_start=6,
    )
    for member in result.front:
        print(dict(member.candidate), *(f"{o.name} {member[o.name]:.4g}{o.unit}" for o in OBJECTIVES))
    print("knee:", dict(result.knee().candidate))
