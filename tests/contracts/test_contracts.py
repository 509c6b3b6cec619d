"""The shipped contracts over everything that is registered."""

from typing import Any

import pytest

from exporters import find_format, format_names
from exporters.base import Exporter
from mobinas.arch.blocks import BLOCKS
from mobinas.arch.ops import OPS
from mobinas.search.samplers import sampler_names
from mobinas.supernet.methods import METHODS
from mobinas.targets.target import Target
from mobinas.testing import (
    BlockContract,
    ExporterContract,
    MethodContract,
    OpContract,
    RunnerContract,
    SamplerContract,
)
from predictors.runners import Runner, runner_for


class TestOps(OpContract):
    @pytest.fixture(params=OPS)
    def op(self, request: Any) -> str:
        return str(request.param)


class TestBlocks(BlockContract):
    @pytest.fixture(params=BLOCKS)
    def block(self, request: Any) -> str:
        return str(request.param)


class TestMethods(MethodContract):
    @pytest.fixture(params=METHODS)
    def method(self, request: Any) -> str:
        return str(request.param)


class TestSamplers(SamplerContract):
    # Optuna's GP takes a second a proposal, even for a handful of trials.
    @pytest.fixture(
        params=[pytest.param(n, marks=[pytest.mark.slow] if n == "gp" else []) for n in sampler_names()]
    )
    def sampler(self, request: Any) -> str:
        return str(request.param)


class TestExporters(ExporterContract):
    @pytest.fixture(params=format_names())
    def exporter(self, request: Any) -> Exporter:
        return find_format(request.param)


class TestRunners(RunnerContract):
    @pytest.fixture(params=["fake", "local"])
    def target(self, request: Any) -> Target:
        return Target.fake() if request.param == "fake" else Target.local(threads=1)

    @pytest.fixture
    def runner(self, target: Target) -> Runner:
        return runner_for(target)
