import math

import pytest

from mobinas.arch.genotype import published
from mobinas.report.curves import hypervolume_panel, supernet_panels, training_panel
from mobinas.report.html import CellsInfo, ReportInfo, render_report
from mobinas.report.models import Kind, ModelRow
from mobinas.report.predictor import PredictedPoint, PredictorInfo
from mobinas.report.tradeoff import TradeoffInfo


def model(name: str, kind: Kind, accuracy: float, latency_ms: float, **more: object) -> ModelRow:
    latency_s = latency_ms * 1e-3
    bounds = (0.95 * latency_s, 1.06 * latency_s)
    return ModelRow(name, kind, accuracy, latency_s, latency_bounds_s=bounds, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def models() -> tuple[ModelRow, ...]:
    return (
        model(
            "fast", "front", 0.955, 0.05, test_accuracy=0.95, test_bounds=(0.93, 0.965), predicted_s=5.5e-5
        ),
        model(
            "middle",
            "pick",
            0.99,
            0.16,
            test_accuracy=0.985,
            predicted_s=1.5e-4,
            params=20_000,
            onnx="models/a b/m.onnx",
        ),
        model("slow", "front", 0.995, 0.4, test_accuracy=0.98, test_dominated=True, inherited_accuracy=0.9),
        model("beaten", "dominated", 0.95, 0.3, inherited_accuracy=0.8),
        model("mobilenet_v3_small", "baseline", 0.11, 1.3),
        model("plain_cnn", "baseline", 0.97, 0.2),
    )


@pytest.fixture(scope="session")
def tradeoff(models: tuple[ModelRow, ...]) -> TradeoffInfo:
    return TradeoffInfo(models)


@pytest.fixture(scope="session")
def report(tradeoff: TradeoffInfo) -> ReportInfo:
    points = tuple(
        PredictedPoint(m * 1e-4, m * 1.02e-4, (m * 0.9e-4, m * 1.1e-4), m > 3) for m in (1, 2, 4, 8)
    )
    falling = [1.0, 0.5, math.nan, 0.2]
    panels = (
        *supernet_panels({"weights": falling, "alphas": falling}, falling, falling, falling, falling),
        hypervolume_panel([0, 10, 20], [0.1, 0.5, 0.6]),
        training_panel({m.name: falling for m in tradeoff.models}, "middle"),
    )
    return ReportInfo(
        "digits on local",
        tradeoff,
        cells=(CellsInfo("middle", published("DARTS_V2")), CellsInfo("slow", published("AmoebaNet"))),
        searched=(("Seed", "0"),),
        panels=panels,
        predictor=PredictorInfo(points, 4, hit_5=0.7, repeat_5=0.9),
        doubts=("A guard acted.",),
        machine=(("Machine", "two cores"),),
        command="mobinas run --seed 0",
        pick_command="mobinas pick out --max-latency-ms 1",
    )


@pytest.fixture(scope="session")
def page_html(report: ReportInfo) -> str:
    return render_report(report)
