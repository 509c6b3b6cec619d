"""How many processes a model is seen by, and for how long."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mobinas.errors import MeasurementError
from mobinas.targets.target import Target
from predictors.runners.reference import reference_model
from predictors.worker.measuring import MeasuringPlan, Model, Timed
from predictors.worker.processes import in_a_process, measure_models

MODELS = [Model(name, Path(name)) for name in ("still", "odd", "restless")]
PLAN = MeasuringPlan(rounds=4, max_rounds=24, interval_half_width=0.05)


@dataclass
class Device:
    """Whose processes tell what a function of model and process says; each takes ten seconds."""

    seconds: Callable[[str, int], float]
    asked: list[tuple[list[str], MeasuringPlan]] = field(default_factory=list)
    now_s: float = 0.0
    waited: float = 0.0

    def __call__(self, models: Sequence[Model], plan: MeasuringPlan, progress: Any) -> list[Timed]:
        self.asked.append(([model.name for model in models], plan))
        self.now_s += 10
        progress(plan.rounds, plan.rounds, "")
        blocks = [((self.seconds(model.name, len(self.asked)),) * 3,) * plan.rounds for model in models]
        reference, level_s = ((1.0,) * 3,) * plan.rounds, plan.reference_level_s or 1.0
        seen = [Timed(block, reference, level_s, 5, "now") for block in blocks]
        return [one._replace(waited=self.waited) for one in seen]

    def measure(self, plan: MeasuringPlan, told: list[Any] | None = None) -> dict[int, Timed]:
        found: dict[int, Timed] = {}

        def keep(i: int, timed: Timed) -> None:
            assert i not in found
            found[i] = timed

        def progress(*said: Any) -> None:
            if told is not None:
                told.append(said)

        measure_models(MODELS, plan, "median", self, keep, progress, lambda: self.now_s)
        return found


def _seconds(name: str, process: int) -> float:
    if name == "odd":
        return 2.0 if process == 1 else 1.0
    return float(process) if name == "restless" else 1.0


def test_only_models_that_disagree_go_on() -> None:
    device, told = Device(_seconds), []
    found = device.measure(PLAN, told)
    names, plans = zip(*device.asked, strict=True)
    assert names[:3] == (["still", "odd", "restless"], ["still", "odd", "restless"], ["odd", "restless"])
    assert names[-1] == ["restless"]  # until the most rounds
    assert [found[i].blocks_per_process for i in (0, 2)] == [(2, 2), (2,) * 12]
    assert 2 < len(found[1].blocks_per_process) < 12
    assert [plan.seed for plan in plans] == list(range(12))
    assert [plan.trace_runs for plan in plans] == [PLAN.trace_runs] + 11 * [0]
    assert {plan.reference_level_s for plan in plans[1:]} == {1.0}
    assert found[0].warmup_samples == 10
    assert all(done <= total == 4 for done, total, _ in told)


def test_the_budget_ends_further_rounds_but_not_the_least() -> None:
    device = Device(_seconds)
    found = device.measure(MeasuringPlan(rounds=4, budget_s=1.0))
    assert {timed.blocks_per_process for timed in found.values()} == {(2, 2)}
    groups = Device(_seconds)
    groups.measure(MeasuringPlan(rounds=4, group_size=1, max_rounds=100, budget_s=300.0))
    # The first group's model is steady and leaves its share to the others, of which each has its own.
    assert [names for names, _ in groups.asked][:3] == [["still"], ["still"], ["odd"]]
    assert groups.now_s <= 310


def test_no_rounds_are_added_where_the_cpu_is_shared() -> None:
    found = Device(_seconds, waited=0.3).measure(PLAN)
    assert {timed.blocks_per_process for timed in found.values()} == {(2, 2)}
    assert {timed.waited for timed in found.values()} == {0.3}


def test_odd_rounds_are_shared_and_one_round_is_made_twice() -> None:
    for rounds, expected in ((5, (3, 2)), (1, (1, 1))):
        found = Device(lambda *_: 1.0).measure(MeasuringPlan(rounds=rounds))
        assert found[0].blocks_per_process == expected


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = tmp_path / "r.onnx"
    reference.write_bytes(reference_model().SerializeToString())
    monkeypatch.setattr("predictors.worker.talk._START", "raise SystemExit('the device is gone')")
    with pytest.raises(MeasurementError, match=r"process died: the device is gone") as raised:
        in_a_process(reference, Target())([Model("net", reference)], PLAN, lambda *_: None)
    assert "\n" not in str(raised.value)
