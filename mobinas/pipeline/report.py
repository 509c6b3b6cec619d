"""Step 10: the front as a table, the pictures, and the report page."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from mobinas import __version__
from mobinas.files import write_atomic
from mobinas.metrics.confusion import Confusion
from mobinas.metrics.objective import Metric
from mobinas.pipeline.answers import Answers, record_in_manifests, write_classes
from mobinas.pipeline.background import Background
from mobinas.pipeline.confirm import FrozenFront, score_of
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.front_file import FRONT_FILE, FrontRow, write_front
from mobinas.pipeline.train import training_losses
from mobinas.places import short
from mobinas.report.cells import draw_cell_picture
from mobinas.report.classes import ClassesInfo, draw_recalls
from mobinas.report.curves import draw_curves, training_panel
from mobinas.report.figures import png
from mobinas.report.html import CellsInfo, ReportInfo, write_report
from mobinas.report.models import Beside, Kind, ModelRow
from mobinas.report.predictor import draw_predictor
from mobinas.report.primitives import draw_primitives
from mobinas.report.tradeoff import TradeoffInfo, draw_tradeoff
from mobinas.report.why import draw_why
from mobinas.train.splits import Splits
from predictors.runners import runner_for

REPORT_FILE = "report.html"
_PACKAGES = ("torch", "onnxruntime", "onnx", "optuna", "numpy")


def write_results(
    job: Job,
    contenders: Sequence[Contender],
    frozen: FrozenFront,
    tested: Mapping[str, Confusion],
    splits: Splits,
    background: Background,
) -> None:
    """Writes `front.csv` and the tables beside it, `plots/` and `report.html`; cheap, so always made anew.

    What was found on `select` and `test` goes into the models' manifests, too.
    """
    by_name = {contender.name: contender for contender in contenders}
    predicted_s = background.predicted_s
    dominated = dominated_on_test(frozen, tested, job.config.search.metric)
    found = Answers.of(contenders, frozen, tested, splits)
    rows = tuple(
        _front_row(job, by_name[name], frozen, found, predicted_s.get(name), name in dominated)
        for name in frozen.members
    )
    models = tuple(
        _model_row(job, contender, frozen, found, background, dominated) for contender in contenders
    )
    write_classes(job.folder.path, found)
    record_in_manifests(job, contenders, found)
    info = _report(job, models, frozen, found, by_name, background)
    _draw(job, info)
    write_report(info, job.folder.path / REPORT_FILE)
    # The table comes last: where it stands, the run is finished.
    write_front(job.folder.path / FRONT_FILE, rows)


def dominated_on_test(frozen: FrozenFront, tested: Mapping[str, Confusion], metric: Metric) -> frozenset[str]:
    """Members that another member dominates in the metric on `test` and measured latency."""

    def place(name: str) -> tuple[float, float]:
        return -tested[name].share(metric).x, frozen.confirmed[name].latency_s

    def beaten(name: str) -> bool:
        (loss, latency_s), others = place(name), [place(other) for other in frozen.members]
        return any(a <= loss and b <= latency_s and (a, b) != (loss, latency_s) for a, b in others)

    return frozenset(name for name in frozen.members if beaten(name))


def _front_row(
    job: Job,
    contender: Contender,
    frozen: FrozenFront,
    found: Answers,
    predicted_s: float | None,
    dominated: bool,
) -> FrontRow:
    confirmed = frozen.confirmed[contender.name]
    select, test = confirmed.select, found.test[contender.name]
    tested, balanced = test.share("accuracy"), select.share("balanced_accuracy")
    tested_balanced = test.share("balanced_accuracy")
    return FrontRow(
        name=contender.name,
        digest=contender.digest,
        accuracy=select.share("accuracy").x,
        test_accuracy=tested.x,
        test_ci_low=tested.low,
        test_ci_high=tested.high,
        latency_ms=confirmed.latency_s * 1e3,
        latency_ci_low_ms=confirmed.latency_low_s * 1e3,
        latency_ci_high_ms=confirmed.latency_high_s * 1e3,
        predicted_ms=None if predicted_s is None else predicted_s * 1e3,
        score=score_of(job, confirmed),
        params=confirmed.params,
        macs=confirmed.macs,
        precision="fp32",
        onnx=contender.onnx,
        dominated_on_test=dominated,
        pick=contender.name == frozen.pick,
        metric=job.config.search.metric,
        balanced_accuracy=balanced.x,
        balanced_ci_low=balanced.low,
        balanced_ci_high=balanced.high,
        test_balanced_accuracy=tested_balanced.x,
        test_balanced_ci_low=tested_balanced.low,
        test_balanced_ci_high=tested_balanced.high,
        classes=len(found.names),
        classes_answered=sum(map(bool, (select + test).answered)),
        warning=found.unanswered(contender.name),
    )


def _model_row(
    job: Job,
    contender: Contender,
    frozen: FrozenFront,
    found: Answers,
    background: Background,
    dominated: frozenset[str],
) -> ModelRow:
    confirmed = frozen.confirmed[contender.name]
    metric = job.config.search.metric
    judged, tested = confirmed.select.share(metric), found.test[contender.name].share(metric)
    return ModelRow(
        name=contender.name,
        kind=_kind(contender, frozen),
        accuracy=judged.x,
        latency_s=confirmed.latency_s,
        accuracy_bounds=(judged.low, judged.high),
        latency_bounds_s=(confirmed.latency_low_s, confirmed.latency_high_s),
        test_accuracy=tested.x,
        test_bounds=(tested.low, tested.high),
        predicted_s=background.predicted_s.get(contender.name),
        inherited_accuracy=background.inherited.get(contender.name),
        score=score_of(job, confirmed),
        params=confirmed.params,
        macs=confirmed.macs,
        onnx=contender.onnx,
        label=contender.name if contender.is_baseline else contender.name.rpartition("-")[0],
        test_dominated=contender.name in dominated,
        beside=_beside(metric, confirmed.select, found.test[contender.name]),
        unanswered=found.unanswered(contender.name),
    )


def _beside(metric: Metric, select: Confusion, test: Confusion) -> Beside | None:
    if select.is_even and test.is_even:
        return None
    other: Metric = "balanced_accuracy" if metric == "accuracy" else "accuracy"
    judged, tested = select.share(other), test.share(other)
    return Beside(other, judged.x, (judged.low, judged.high), tested.x, (tested.low, tested.high))


def _kind(contender: Contender, frozen: FrozenFront) -> Kind:
    if contender.is_baseline:
        return "baseline"
    if contender.name == frozen.pick:
        return "pick"
    return "front" if contender.name in frozen.members else "dominated"


def _report(
    job: Job,
    models: Sequence[ModelRow],
    frozen: FrozenFront,
    found: Answers,
    by_name: Mapping[str, Contender],
    background: Background,
) -> ReportInfo:
    config = job.config
    metric = config.search.metric
    classes = ClassesInfo(
        found.names, found.images, metric, found.select[frozen.pick], found.test[frozen.pick]
    )
    front = sorted((m for m in models if m.on_front), key=lambda m: (m.kind != "pick", m.latency_s))
    chosen = [(model.name, by_name[model.name].architecture) for model in front]
    genotypes = [(name, a.cells.genotype) for name, a in chosen if a is not None]
    return ReportInfo(
        title=f"{short(config.data)} on {job.target.name}",
        tradeoff=TradeoffInfo(
            tuple(models),
            reference_s=config.reference_s,
            metric=metric,
            latency_label=f"measured latency, {job.target.provider}, {job.target.threads} thread(s)",
            max_latency_s=config.max_latency_s,
        ),
        cells=(*(CellsInfo(name, genotype) for name, genotype in genotypes),),
        searched=background.words,
        panels=(
            *background.panels,
            training_panel({name: training_losses(job, name) for name in by_name}, front[0].name),
        ),
        why=background.why,
        predictor=background.predictor,
        primitives=background.primitives,
        classes=classes,
        doubts=_doubts(frozen),
        machine=(
            ("machine", runner_for(job.target).host),
            ("python", platform.python_version()),
            ("mobinas", __version__),
            *((name, version(name)) for name in _PACKAGES),
            ("seed", str(config.seed)),
        ),
        command=background.command,
        pick_command=f"mobinas pick {job.folder.path} --max-latency-ms X",
    )


def _doubts(frozen: FrozenFront) -> tuple[str, ...]:
    unsteady = [name for name, confirmed in frozen.confirmed.items() if not confirmed.steady]
    if not unsteady:
        return ()
    return (
        f"The device did not hold still while {', '.join(unsteady)} ran; "
        "stop other programs and measure again.",
    )


def _draw(job: Job, info: ReportInfo) -> None:
    plots = job.folder.path / "plots"
    write_atomic(plots / "tradeoff.png", png(draw_tradeoff(info.tradeoff)))
    if info.classes is not None:
        write_atomic(plots / "recall.png", png(draw_recalls(info.classes)))
    if info.cells:
        pick = info.cells[0].genotype
        write_atomic(plots / "normal_cell.png", png(draw_cell_picture(pick.normal, "normal cell")))
        write_atomic(plots / "reduction_cell.png", png(draw_cell_picture(pick.reduction, "reduction cell")))
    if info.why is not None and info.why.deciders:
        write_atomic(plots / "why.png", png(draw_why(info.why)))
    if info.predictor is not None:
        write_atomic(plots / "predictor.png", png(draw_predictor(info.predictor)))
    if info.primitives is not None and not info.primitives.is_empty:
        write_atomic(plots / "primitives.png", png(draw_primitives(info.primitives)))
    for number, panel in enumerate(panel for panel in info.panels if not panel.is_empty):
        write_atomic(plots / f"search_{number}.png", png(draw_curves(panel)))
