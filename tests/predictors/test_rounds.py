import random
from collections.abc import Iterator

import pytest

from predictors.worker.rounds import Block, drift_of, run_rounds


class Machine:
    """A machine whose slowness is a function of the number of blocks taken so far."""

    def __init__(self, slowness: list[float]) -> None:
        self.slowness = slowness
        self.taken: list[int] = []

    def speed(self) -> float:
        return self.slowness[min(len(self.taken), len(self.slowness) - 1)]


class Timer:
    def __init__(self, machine: Machine, place: int, own_s: float) -> None:
        self.machine, self.place, self.own_s = machine, place, own_s

    def warm_up(self) -> int:
        return 1

    def block(self) -> tuple[Block, Block]:
        speed = self.machine.speed()
        self.machine.taken.append(self.place)
        return (self.own_s * speed,) * 4, (speed,) * 4


def run(slowness: list[float], rounds: int = 4, repeats: int = 2) -> tuple[Machine, list[Block], float, int]:
    machine = Machine(slowness)
    timers = [Timer(machine, i, 1.0 + i) for i in range(6)]
    outcome = run_rounds(
        timers, rounds=rounds, max_repeats=repeats, drift_tolerance=0.1, rng=random.Random(0)
    )
    firsts = [r.blocks[0] for r in outcome.rounds]
    return machine, firsts, max(r.drift for r in outcome.rounds), outcome.repeated


def test_models_take_turns_in_changing_order() -> None:
    machine, _, drift, repeated = run([1.0])
    turns = [tuple(machine.taken[i : i + 6]) for i in range(0, 24, 6)]
    assert all(sorted(turn) == list(range(6)) for turn in turns)
    assert len(set(turns)) > 1
    assert (drift, repeated, len(machine.taken)) == (0.0, 0, 24)


def test_a_drifting_round_is_repeated() -> None:
    machine, firsts, drift, repeated = run([1.0] * 9 + [2.0] * 3 + [1.0])
    assert (drift, repeated, len(machine.taken)) == (0.0, 1, 30)
    assert firsts == [(1.0,) * 4] * 4


def test_repeats_are_bounded_and_the_steadiest_rounds_kept() -> None:
    restless = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0] * 6
    machine, firsts, drift, repeated = run(restless)
    assert len(firsts) == 4
    assert (drift, repeated, len(machine.taken)) == (1.0, 2, 36)


@pytest.mark.parametrize(
    ("samples", "expected"), [([], 0.0), ([1.0], 0.0), ([1.0, 2.0], 1.0), ([2.0, 1.0], 1.0), ([1.0] * 5, 0.0)]
)
def test_drift_compares_halves(samples: list[float], expected: float) -> None:
    assert drift_of(samples) == expected


def test_blocks_come_back_in_the_order_of_models() -> None:
    machine = Machine([1.0])
    timers: Iterator[Timer] = (Timer(machine, i, float(i + 1)) for i in range(5))
    outcome = run_rounds(list(timers), rounds=2, max_repeats=0, drift_tolerance=0.1, rng=random.Random(3))
    assert [block[0] for block in outcome.rounds[1].blocks] == [1.0, 2.0, 3.0, 4.0, 5.0]
