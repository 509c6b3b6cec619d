"""Runners: what turns a model file and a target into a measurement. One file a transport."""

from functools import lru_cache

from mobinas.targets import FAKE_PROVIDER
from mobinas.targets.target import Target
from predictors.model_file import ModelFile
from predictors.runners.base import Runner
from predictors.worker.measuring import MeasuringPlan

__all__ = ["MeasuringPlan", "ModelFile", "Runner", "runner_for"]


@lru_cache
def runner_for(target: Target) -> Runner:
    """The runner that a target asks for.

    Raises:
        TargetError: This onnxruntime lacks the target's provider.
    """
    if target.provider == FAKE_PROVIDER:
        from predictors.runners.fake import FakeRunner

        return FakeRunner()
    if target.ssh:
        from predictors.runners.ssh import SshRunner

        return SshRunner(target)
    from predictors.runners.local import LocalRunner

    return LocalRunner()
