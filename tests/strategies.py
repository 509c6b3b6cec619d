"""Hypothesis strategies that all tests share."""

import random

from hypothesis import strategies as st

from mobinas.arch.architecture import STEM_STRIDE, Architecture, CellBody, Task
from mobinas.arch.blocks import ACTIVATIONS, BLOCKS, HEADS, STEMS
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.ops import OP_SETS, OPS
from mobinas.arch.space import SearchSpace
from mobinas.arch.stage_choices import StageChoices
from mobinas.arch.stage_space import StageSpace
from mobinas.arch.stages import IDENTITY, Stage, StageBody

REAL_OPS = tuple(op for op in OPS if op != "none")


@st.composite
def cells(draw: st.DrawFn, max_nodes: int = 4) -> Cell:
    """Cells as the constructor allows them: any number of edges, repeated sources, partial concat."""
    n_nodes = draw(st.integers(1, max_nodes))
    nodes = []
    for number in range(N_INPUTS, N_INPUTS + n_nodes):
        edges = st.builds(Edge, st.integers(0, number - 1), st.sampled_from(REAL_OPS))
        nodes.append(tuple(draw(st.lists(edges, min_size=1, max_size=3))))
    numbers = list(range(N_INPUTS, N_INPUTS + n_nodes))
    concat = draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    return Cell(tuple(nodes), tuple(concat))


def genotypes(max_nodes: int = 4) -> st.SearchStrategy[Genotype]:
    """Pairs of cells."""
    return st.builds(Genotype, cells(max_nodes), cells(max_nodes))


@st.composite
def architectures(draw: st.DrawFn, max_nodes: int = 3, max_depth: int = 5) -> Architecture:
    """Small architectures of all stems, from arbitrary cells."""
    stem = draw(st.sampled_from(list(STEM_STRIDE)))
    body = CellBody(
        draw(genotypes(max_nodes)),
        draw(st.integers(2, max_depth)),
        2 * draw(st.integers(1, 4)),
        stem,
    )
    resolution = body.stride * draw(st.integers(1, 3 if stem == "imagenet" else 6))
    return Architecture(body, resolution, Task(draw(st.integers(2, 12)), draw(st.integers(1, 4))))


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Small search spaces, with one or two op sets."""
    sets = draw(
        st.lists(
            st.sampled_from([OP_SETS["darts"], OP_SETS["seed"], ("conv_3x3",)]),
            min_size=1,
            max_size=2,
            unique=True,
        )
    )
    return SearchSpace(
        Task(draw(st.integers(2, 10)), draw(st.integers(1, 3))),
        tuple(draw(st.lists(st.sampled_from([4, 8, 12, 16]), min_size=1, max_size=3, unique=True))),
        tuple(draw(st.lists(st.integers(2, 6), min_size=1, max_size=3, unique=True))),
        tuple(draw(st.lists(st.sampled_from([2, 4, 8]), min_size=1, max_size=3, unique=True))),
        tuple(sets),
        nodes=draw(st.integers(1, 3)),
    )


def spaced_architectures() -> st.SearchStrategy[tuple[SearchSpace, Architecture]]:
    """A search space with one of its architectures."""
    return spaces().flatmap(
        lambda space: st.randoms(use_true_random=False).map(lambda rng: (space, space.sample(rng)))
    )


def renamed(cell: Cell, rng: random.Random) -> Cell:
    """The same cell with its nodes, edges and concat in another order."""
    left = list(range(N_INPUTS, N_INPUTS + len(cell.nodes)))
    number_of = {0: 0, 1: 1}
    nodes = []
    while left:
        ready = [n for n in left if all(e.source in number_of for e in cell.nodes[n - N_INPUTS])]
        node = rng.choice(ready)
        left.remove(node)
        number_of[node] = N_INPUTS + len(nodes)
        edges = [Edge(number_of[e.source], e.op) for e in cell.nodes[node - N_INPUTS]]
        nodes.append(tuple(rng.sample(edges, len(edges))))
    concat = [number_of[n] for n in cell.concat]
    return Cell(tuple(nodes), tuple(rng.sample(concat, len(concat))))


# Even, for groups of two; at least 4, for squeeze-excitation.
WIDTHS = (4, 6, 8, 12, 16, 24)


def random_stage(rng: random.Random, given_width: int, widths: tuple[int, ...] = WIDTHS) -> Stage:
    """Any stage that can follow so many channels."""
    block = BLOCKS[rng.choice(list(BLOCKS))]
    return Stage(
        block.name,
        given_width if block.name == IDENTITY else rng.choice(widths),
        rng.randint(1, 3),
        rng.choice((1, 2)) if block.can_stride else 1,
        rng.choice(block.kernels) if block.kernels else 1,
        rng.choice((1, *block.expansions)) if block.expansions else 1,
        block.can_excite and rng.random() < 0.3,
    )


def random_stage_architecture(rng: random.Random, widths: tuple[int, ...] = WIDTHS) -> Architecture:
    """A small network of stages of any stem and head."""
    stem, head = rng.choice(list(STEMS)), rng.choice(list(HEADS))
    stem_width, stages = rng.choice(widths), list[Stage]()
    for _ in range(rng.randint(1, 3)):
        stages.append(random_stage(rng, stages[-1].width if stages else stem_width, widths))
    head_width = 0 if head == "linear" else rng.choice((20, 32))
    body = StageBody(stem, stem_width, tuple(stages), head, head_width, rng.choice(ACTIVATIONS))
    resolution = body.stride * rng.randint(1, 3) + rng.choice((0, body.patch))
    return Architecture(body, resolution, Task(rng.randint(2, 12), rng.randint(1, 4)))


def stage_architectures() -> st.SearchStrategy[Architecture]:
    """Small architectures of stages."""
    return st.randoms(use_true_random=False).map(random_stage_architecture)


@st.composite
def stage_choices(draw: st.DrawFn) -> StageChoices:
    """What a stage may be, with one to three options each."""

    def some(options: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True)))

    names = tuple(name for name in BLOCKS if BLOCKS[name].can_stride)
    blocks = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)))
    depths = some((0, 1, 2, 3))
    return StageChoices(some((8, 16, 24)), depths, blocks, draw(st.sampled_from([(1,), (2,), (1, 2)])))


def stage_spaces() -> st.SearchStrategy[StageSpace]:
    """Small spaces of networks of stages."""
    return st.builds(
        lambda stages, stems, heads, activations: StageSpace(
            Task(3, 1), (32, 36), (8, 16), tuple(stages), stems, heads, (16, 24), activations
        ),
        st.lists(stage_choices(), min_size=1, max_size=3),
        st.sampled_from([("3x3",), ("3x3_s2", "patch4")]),
        st.sampled_from([("linear",), ("linear", "wide"), ("wide_pooled",)]),
        st.sampled_from([("relu",), ACTIVATIONS]),
    )
