"""Tables that hold every answer, for `front_search.py`."""

import csv
import lzma
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.space import SearchSpace
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Choices, ChoiceSpace, enumerate_space
from mobinas.search.constraints import Constraint
from predictors.networks import Layout, kernels_of
from predictors.runners.fake import fake_latency_s

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NAMES = ("zcu102", "a100", "cells", "zcu102-tight", "cells-tight")
TIGHT = 0.25
N_ACCEL_CHOICES = 28
CELL_SPACE = SearchSpace(Task(10, 3), (32,), (3, 5), (8, 16), (("skip_connect", "sep_conv_3x3"),), nodes=2)
NOISE = 0.004


@dataclass(frozen=True, slots=True)
class Table:
    """Candidates with what an evaluation would answer.

    Attributes:
        name: As on the command line.
        space: Every choice with its options.
        codes: [n, choices] option numbers; distinct rows.
        objectives: The axes.
        values: [n, objectives].
        constraints: Hard bounds.
    """

    name: str
    space: ChoiceSpace
    codes: Ints
    objectives: tuple[Objective, ...]
    values: Floats
    constraints: tuple[Constraint, ...] = ()

    def __len__(self) -> int:
        return len(self.codes)

    def candidate(self, row: int) -> Choices:
        """The choices of a row."""
        named = zip(self.space.choices.items(), self.codes[row].tolist(), strict=True)
        return Choices({name: options[k] for (name, options), k in named})

    def number(self, name: str, option: Any) -> int:
        """The number of an option."""
        return list(self.space.choices[name]).index(option)

    def losses(self) -> Floats:
        """[n, objectives], to be minimised."""
        signs = [-1.0 if o.direction == "maximize" else 1.0 for o in self.objectives]
        result: Floats = self.values * np.array(signs)
        return result

    def feasible(self) -> npt.NDArray[np.bool_]:
        """[n] marks of rows within the constraints."""
        names = [o.name for o in self.objectives]
        marks = np.ones(len(self), dtype=bool)
        for bound in self.constraints:
            marks &= [bound.met_by(float(x)) for x in self.values[:, names.index(bound.name)]]
        return marks

    def worst(self) -> tuple[float, ...]:
        """The worst feasible value of each objective: the reference point."""
        signs = [-1.0 if o.direction == "maximize" else 1.0 for o in self.objectives]
        corner = self.losses()[self.feasible()].max(axis=0)
        return tuple(float(sign * x) for sign, x in zip(signs, corner, strict=True))


@cache
def named(name: str, data: Path) -> Table:
    """A table by its name.

    Args:
        name: One of NAMES.
        data: accel_nasbench.csv.xz.
    """
    if name.endswith("-tight"):
        return tight(named(name.removesuffix("-tight"), data))
    return cells() if name == "cells" else accel(data, name)


def tight(table: Table) -> Table:
    """The table with the last objective, a latency, bound to its lowest quarter."""
    bound = float(np.quantile(table.values[:, -1], TIGHT))
    constraint = Constraint(table.objectives[-1].name, "<=", bound)
    return Table(
        f"{table.name}-tight", table.space, table.codes, table.objectives, table.values, (constraint,)
    )


def accel(path: Path, device: str) -> Table:
    """Accel-NASBench's sample (https://arxiv.org/abs/2404.08005); the first of equal architectures counts."""
    if not path.is_file():
        sys.exit(f"{path} is missing: Accel-NASBench's 5,138 networks as accel_nasbench.csv.xz; give --data")
    cost_name, cost_axis, unit = {
        "zcu102": ("latency_zcu102", Objective("latency_s", "minimize", "s"), 1e-3),
        "a100": ("throughput_a100", Objective("throughput", "maximize", "1/s"), 1.0),
    }[device]
    with lzma.open(path, "rt") as file:
        head, *rows = csv.reader(file)
    needed = [head.index("val_top1"), head.index(cost_name)]
    rows = [row for row in rows if all(row[k] for k in needed)]
    rows = list({tuple(row[:N_ACCEL_CHOICES]): row for row in reversed(rows)}.values())[::-1]
    columns = list(zip(*rows, strict=True))
    choices: dict[str, tuple[Any, ...]] = {}
    codes = []
    for name, column in zip(head[:N_ACCEL_CHOICES], columns, strict=False):
        texts = sorted(set(column))
        choices[name] = tuple(text == "True" if name.endswith("_se") else int(text) for text in texts)
        codes.append([texts.index(text) for text in column])
    accuracy, costs = (np.array(columns[k], dtype=float) for k in needed)
    values = np.stack([accuracy / 100, costs * unit], axis=1)
    axes = (Objective("accuracy", "maximize"), cost_axis)
    return Table(device, ChoiceSpace(choices), np.array(codes).T, axes, values)


def cells() -> Table:
    """All architectures of CELL_SPACE, isomorphic ones once.

    The latency is the fake device's, without its noise. The accuracy, as a logit, is
    ``0.5 + 0.25 ln(MACs / 1e6) + 0.1 ln(parameters / 1e4) - 0.35 s^2 + 0.15 d``: s is the share of skips
    among all edges, d = 1 where both cells reach beyond their inputs. Normal noise of standard deviation
    NOISE is added, seeded by the digest.
    """
    options: dict[str, tuple[Any, ...]] = {}

    def note(name: str, offered: Sequence[Any]) -> Any:
        options[name] = tuple(offered)
        return offered[0]

    CELL_SPACE.build(note)
    codes, values, digests = [], [], set()
    for architecture, chosen in enumerate_space(CELL_SPACE, 10**6):
        if architecture.digest not in digests:
            digests.add(architecture.digest)
            codes.append([options[name].index(chosen[name]) for name in options])
            values.append(answer(architecture))
    several = {name: of for name, of in options.items() if len(of) > 1}
    kept = [k for k, name in enumerate(options) if name in several]
    axes = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))
    return Table("cells", ChoiceSpace(several), np.array(codes)[:, kept], axes, np.array(values))


def answer(architecture: Architecture) -> tuple[float, float]:
    """Accuracy and latency in seconds."""
    body = architecture.body
    assert isinstance(body, CellBody)
    graph = lower(architecture)
    counted = cost(graph)
    both = (body.genotype.normal, body.genotype.reduction)
    edges = [edge for cell in both for node in cell.nodes for edge in node]
    skips = sum(edge.op == "skip_connect" for edge in edges) / len(edges)
    deep = all(any(edge.source > 1 for node in cell.nodes for edge in node) for cell in both)
    logit = 0.5 + 0.25 * math.log(counted.macs / 1e6) + 0.1 * math.log(counted.params / 1e4)
    logit += 0.15 * deep - 0.35 * skips**2
    noise = np.random.default_rng(int(architecture.digest[:15], 16)).normal(0, NOISE)
    latency_s = fake_latency_s(kernels_of(graph, Layout()))
    return 1 / (1 + math.exp(-logit)) + noise, latency_s
