"""What a model's wiring says about its latency on a device nobody has measured yet.

Two views of a `Program`: its latency on a few hundred simulated devices, which differ in what kernels cost
and in how they are scheduled (the prior of `predictors.models.transfer`), and counts of the neighbourhoods of
its steps, for what the simulation misses.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.errors import PredictorError
from mobinas.graph.layers import Graph
from predictors.model_calls import OnnxModel
from predictors.steps import KINDS, Program, program_of, program_of_model

Floats = npt.NDArray[np.float64]

SCHEDULES = ("serial", "parallel", "merged", "unpruned")
DEVICES = 256
_SEED = 0

# What a simulated device charges per unit of work, in multiply-accumulates of a dense convolution: rough
# physics, set by hand with NAS-Bench-201's devices in view, not fitted. Pools and sums wait for memory.
# Halving or doubling each at random moved the mean rank correlation from 10 latencies there between 0.944 and
# 0.961.
_WORK = {
    "dense": 1.0,
    "pointwise": 1.6,
    "depthwise": 5.0,
    "linear": 3.0,
    "pool": 7.0,
    "sum": 25.0,
    "elementwise": 10.0,
    "concat": 25.0,
    "other": 25.0,
}
# Starting a kernel costs as much as this many multiply-accumulates; elementwise ones are usually fused.
_LAUNCH = 600e3
_LAUNCHES = [{"sum": 0.6, "concat": 0.6, "elementwise": 0.0}.get(kind, 1.0) for kind in KINDS]
# Standard deviation of the logarithm of all of these.
_SPREAD = 1.0
# A device that runs branches at the same time does so with this share of the work or more.
_PARALLEL_SHARE = 0.7
# Convolutions that are merged into another one save this share of their cost or more.
_MERGED_SHARE = 0.6

_ROUNDS = 3
_BUCKETS = 128


@dataclass(frozen=True, slots=True)
class Structure:
    """Features of n networks.

    Attributes:
        live: [n] share of the cost that depends on the model's input; 1 where nothing sees zeros alone.
        simulated: [n, len(SCHEDULES), DEVICES] latencies in units of a multiply-accumulate.
        neighbourhoods: [n, 2 * 3 * 128] counts of neighbourhoods of radius 1 to 3, by direction, hashed.
    """

    live: Floats
    simulated: Floats
    neighbourhoods: Floats

    def __getitem__(self, places: npt.NDArray[Any]) -> "Structure":
        """Those of some networks."""
        return Structure(self.live[places], self.simulated[places], self.neighbourhoods[places])


def structure_of(models: "Sequence[Program | Graph | OnnxModel]") -> Structure:
    """Features of models.

    Raises:
        PredictorError: An ONNX model's sizes are open, or its shapes cannot be inferred, or nothing in it
            costs time.
    """
    programs = [program_in(model) for model in models]
    live = np.empty(len(programs))
    simulated = np.empty((len(programs), len(SCHEDULES), DEVICES))
    neighbourhoods = np.empty((len(programs), 2 * _ROUNDS * _BUCKETS))
    for i, program in enumerate(programs):
        pruned = program.without_constants().without_repeats()
        costs = _devices().costs(program.without_repeats())
        if not costs.any():
            raise PredictorError(
                "a model computes nothing that costs time on every device; measure it over there"
            )
        simulated[i] = _simulated(pruned, program)
        live[i] = np.mean(simulated[i, 0] / costs.sum(axis=0))
        neighbourhoods[i] = np.concatenate([_counts(program, False), _counts(program, True)])
    return Structure(live, simulated, neighbourhoods)


def program_in(model: "Program | Graph | OnnxModel") -> Program:
    """The steps of any model; raises as `structure_of` does."""
    if isinstance(model, Program):
        return model
    return program_of(model) if isinstance(model, Graph) else program_of_model(model)


@dataclass(frozen=True, slots=True)
class _Devices:
    """Costs on each simulated device: [DEVICES] of a launch, [DEVICES, kinds] per work, [DEVICES] shares."""

    launch: Floats
    work: Floats
    parallel: Floats
    merged: Floats

    def costs(self, program: Program) -> Floats:
        """[steps, DEVICES]; constants and the model's input cost nothing."""
        costs = np.zeros((len(program.steps), DEVICES))
        for position, step in enumerate(program.steps):
            if step.kind in KINDS:
                kind = KINDS.index(step.kind)
                costs[position] = self.launch * _LAUNCHES[kind] + step.work * self.work[:, kind]
        return costs


@lru_cache(maxsize=1)
def _devices() -> _Devices:
    rng = np.random.default_rng(_SEED)
    medians = np.array([_WORK[kind] for kind in KINDS])
    work = medians * np.exp(_SPREAD * rng.standard_normal((DEVICES, len(KINDS))))
    launch = _LAUNCH * np.exp(_SPREAD * rng.standard_normal(DEVICES))
    parallel = rng.uniform(_PARALLEL_SHARE, 1, DEVICES)
    return _Devices(launch, work, parallel, rng.uniform(_MERGED_SHARE, 1, DEVICES))


def _simulated(pruned: Program, whole: Program) -> Floats:
    devices = _devices()
    costs = devices.costs(pruned)
    serial = costs.sum(axis=0)
    ends = np.zeros_like(costs)
    for position, step in enumerate(pruned.steps):
        ends[position] = costs[position]
        if step.inputs:
            ends[position] += ends[list(step.inputs)].max(axis=0)
    parallel = devices.parallel * ends[-1] + (1 - devices.parallel) * serial
    merged = serial - devices.merged * costs[pruned.mergeable()].sum(axis=0)
    unpruned = devices.costs(whole).sum(axis=0) + len(whole.rectified_apart()) * devices.launch
    return np.stack([serial, parallel, merged, unpruned])


def _counts(program: Program, forward: bool) -> Floats:
    """Counts of what lies before (or behind) each step (Shervashidze et al., 2011, Weisfeiler-Lehman)."""
    neighbours: list[list[int]] = [list(step.inputs) for step in program.steps]
    if forward:
        neighbours = [[] for _ in program.steps]
        for position, step in enumerate(program.steps):
            for i in step.inputs:
                neighbours[i].append(position)
    labels = [_hash(step.kind) for step in program.steps]
    counts = np.zeros((_ROUNDS, _BUCKETS))
    for radius in range(_ROUNDS):
        labels = [
            _hash(f"{label}:{sorted(labels[i] for i in near)}")
            for label, near in zip(labels, neighbours, strict=True)
        ]
        np.add.at(counts[radius], [label % _BUCKETS for label in labels], 1)
    return counts.ravel()


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())
