"""What the report and a target's profile show of a latency predictor."""

from collections.abc import Iterable
from pathlib import Path

from mobinas.arch.space import SearchSpace
from mobinas.content import is_our_picture
from mobinas.files import check_ours, write_together
from mobinas.report.figures import png
from mobinas.report.predictor import PredictedPoint, PredictorInfo, draw_predictor
from mobinas.report.primitives import PrimitivesInfo, draw_primitives
from predictors.models.latency import LatencyPredictor
from predictors.primitives import costs_in

PREDICTOR_PICTURE, COSTS_PICTURE = "predictor.png", "costs.png"


def predictor_info(predictor: LatencyPredictor, finalists: Iterable[PredictedPoint] = ()) -> PredictorInfo:
    """The held-out report, and the finalists once they were measured."""
    report = predictor.report
    held_out = [
        PredictedPoint(measured_s, predicted_s)
        for measured_s, predicted_s in zip(report.measured_s, report.predicted_s, strict=True)
    ]
    return PredictorInfo(
        points=(*held_out, *finalists),
        n=report.n,
        hit_5=report.scores.hit_rate_5,
        hit_10=report.scores.hit_rate_10,
        spearman=report.scores.spearman,
        kendall=report.scores.kendall,
        coverage_90=report.coverage_90,
        repeat_5=report.repeat_hit_rate_5,
        repeat_10=report.repeat_hit_rate_10,
        macs_hit_10=report.baselines["multiply-accumulates alone"].hit_rate_10,
    )


def primitives_info(predictor: LatencyPredictor, space: SearchSpace) -> PrimitivesInfo:
    """What the ops of a space cost."""
    return PrimitivesInfo(tuple(costs_in(predictor, space)))


def check_pictures(folder: Path) -> None:
    """Refuses a folder where something else has the names of both pictures.

    Raises:
        RunFolderError: The text says what is there.
    """
    for name in (PREDICTOR_PICTURE, COSTS_PICTURE):
        check_ours(folder / name, is_our_picture, "a picture of a profile")


def write_pictures(predictor: LatencyPredictor, space: SearchSpace, folder: Path) -> tuple[Path, Path]:
    """Writes both pictures into a folder.

    Returns:
        Their paths: predicted against measured networks, then what ops cost.

    Raises:
        RunFolderError: The folder cannot be written, or holds other files of these names.
    """
    check_pictures(folder)
    paths = folder / PREDICTOR_PICTURE, folder / COSTS_PICTURE
    drawn = draw_predictor(predictor_info(predictor)), draw_primitives(primitives_info(predictor, space))
    write_together({path: png(axes) for path, axes in zip(paths, drawn, strict=True)})
    return paths
