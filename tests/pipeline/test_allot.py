import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.errors import TrainingError
from mobinas.pipeline.train import allot_epochs


def test_equal_costs_share_equally() -> None:
    assert allot_epochs({"a": 10.0, "b": 10.0}, 200.0, 30) == {"a": 10, "b": 10}


def test_what_a_cheap_network_cannot_use_goes_to_the_others() -> None:
    assert allot_epochs({"cheap": 1.0, "dear": 10.0}, 210.0, 10) == {"cheap": 10, "dear": 10}
    assert allot_epochs({"cheap": 1.0, "dear": 40.0}, 210.0, 10) == {"cheap": 10, "dear": 5}


@given(
    st.dictionaries(st.text(min_size=1), st.floats(0.1, 100), min_size=1, max_size=12),
    st.floats(1, 1e4),
    st.integers(1, 100),
)
def test_time_and_epochs_stay_in_bounds(costs_s: dict[str, float], budget_s: float, most: int) -> None:
    if sum(costs_s.values()) > 2 * budget_s:
        with pytest.raises(TrainingError, match=r"train\.minutes"):
            allot_epochs(costs_s, budget_s, most)
        return
    epochs = allot_epochs(costs_s, budget_s, most)
    assert all(1 <= n <= most for n in epochs.values())
    # Rounding to whole epochs may add half an epoch of each network, and each gets at least one.
    spent_s = sum(epochs[name] * cost_s for name, cost_s in costs_s.items())
    assert spent_s <= budget_s + sum(costs_s.values())
