"""A request that takes its files along, for a worker on another machine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from mobinas.targets.target import Target
from predictors.model_file import ModelFile
from predictors.runners.reference import reference_model
from predictors.worker.measuring import MeasuringPlan
from predictors.worker.messages import request_line


def request_pieces(models: Sequence[ModelFile], target: Target, plan: MeasuringPlan) -> Iterator[bytes]:
    """The bytes of a request, line first; weights that lie beside a model are never in memory as a whole.

    Args:
        models: What to measure.
        target: Under which settings.
        plan: How long and how often.

    Raises:
        MeasurementError: A model's file is missing, or its sizes are open.
    """
    reference = reference_model().SerializeToString(deterministic=True)
    contents = [model.content() for model in models]
    asked = [model.asked(target.batch, content) for model, content in zip(models, contents, strict=True)]
    yield request_line(target, asdict(plan), reference, asked)
    yield reference
    for model, content in zip(models, contents, strict=True):
        yield content
        yield from model.data_pieces()
