"""Runners: what turns a model file and a target into a measurement. One file a transport."""

from mobinas.targets.target import FAKE_PROVIDER, Target
from predictors.runners.base import MeasuringPlan, ModelFile, Runner

__all__ = ["MeasuringPlan", "ModelFile", "Runner", "runner_for"]


def runner_for(target: Target) -> Runner:
    """The runner that a target asks for.

    Raises:
        TargetError: This onnxruntime lacks the target's provider.
    """
    if target.provider == FAKE_PROVIDER:
        from predictors.runners.fake import FakeRunner

        return FakeRunner()
    from predictors.runners.local import LocalRunner

    return LocalRunner()
