"""The power transform behind the model-assisted sampler."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import skew, yeojohnson, yeojohnson_llf

from mobinas.search.warp import EXPONENTS, Warp


@given(st.sampled_from(EXPONENTS), st.floats(-8, 8))
def test_the_way_back_is_the_inverse(exponent: float, number: float) -> None:
    warp = Warp(mean=3.0, std=0.5, exponent=exponent)
    assert warp(warp.back(np.array([number]))) == pytest.approx([number], abs=1e-6)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_it_is_the_published_transform(exponent: float) -> None:
    numbers = np.linspace(-3, 3, 25)
    assert Warp(0.0, 1.0, exponent)(numbers) == pytest.approx(yeojohnson(numbers, exponent))


@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.0])
def test_its_exponent_is_the_most_likely(sigma: float) -> None:
    numbers = np.random.default_rng(1).lognormal(sigma=sigma, size=100)
    scaled = (numbers - numbers.mean()) / numbers.std()
    likelihoods = [yeojohnson_llf(exponent, scaled) for exponent in EXPONENTS]
    assert Warp.of(numbers).exponent == EXPONENTS[int(np.argmax(likelihoods))]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_skewed_numbers_become_symmetric_in_the_same_order(sign: float) -> None:
    numbers = sign * np.random.default_rng(0).lognormal(sigma=0.8, size=200)
    warped = Warp.of(numbers)(numbers)
    assert (np.argsort(warped) == np.argsort(numbers)).all()
    assert abs(skew(numbers)) > 1 and abs(skew(warped)) < 0.5


@pytest.mark.parametrize("n", range(1, 30))
def test_equal_numbers_whose_mean_is_rounded_stay_equal(n: int) -> None:
    numbers = np.full(n, 0.1)
    warp = Warp.of(numbers)
    assert np.ptp(warp(numbers)) == 0
    assert np.allclose(warp.back(warp(numbers)), numbers)


def test_equal_numbers_stay_equal() -> None:
    warp = Warp.of(np.full(4, 7.0))
    assert warp.back(warp(np.full(4, 7.0))) == pytest.approx(7.0)
