"""The front's table: what it keeps, tables of earlier versions, and the choice from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from mobinas.errors import RunFolderError
from mobinas.pipeline.front_file import FRONT_FILE, Front, FrontRow, load_front, write_front

BEFORE = (
    "name,digest,accuracy,test_accuracy,test_ci_low,test_ci_high,latency_ms,latency_ci_low_ms,latency_ci_high_ms,"
    "predicted_ms,score,params,macs,precision,onnx,dominated_on_test,pick\n"
    "fast,f00,0.9,0.88,0.8,0.92,0.5,0.4,0.6,,0.94,100,2000,fp32,models/fast/model.onnx,False,True\n"
)


def row(name: str, accuracy: float, balanced: float, latency_ms: float) -> FrontRow:
    return FrontRow(
        *(name, "d" + name, accuracy, accuracy, accuracy - 0.1, min(1.0, accuracy + 0.1)),
        *(latency_ms, latency_ms, latency_ms, None, accuracy, 10, 20, "fp32", f"models/{name}/model.onnx"),
        *(False, False, "accuracy", balanced, balanced - 0.1, balanced + 0.1),
        *(balanced, balanced - 0.1, balanced + 0.1, 2, 1, "never answers 'a, \"b\"': answers 1 of 2 classes"),
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = (
        row("a", 0.99, 0.5, 1.0),
        replace(row("b", 0.7, 0.8, 2.0), warning="", metric="balanced_accuracy"),
    )
    write_front(tmp_path / FRONT_FILE, rows)
    assert load_front(tmp_path) == Front(tmp_path, rows)


def test_a_table_of_an_earlier_version_still_names_a_model(tmp_path: Path) -> None:
    (tmp_path / FRONT_FILE).write_text(BEFORE)
    (found,) = load_front(tmp_path).rows
    assert found.metric == "accuracy" and found.decisive == 0.9 and found.balanced_accuracy is None
    assert found.words("test") == "88.0% test accuracy" and found.warning == ""
    assert load_front(tmp_path).pick(1.0).name == "fast"


@pytest.mark.parametrize("damage", [(",0.9,", ",much,"), ("accuracy,test", "acc,test"), (",True", ",Yes")])
def test_a_torn_table_is_said_to_be_one(tmp_path: Path, damage: tuple[str, str]) -> None:
    (tmp_path / FRONT_FILE).write_text(BEFORE.replace(*damage, 1))
    with pytest.raises(RunFolderError, match=r"is torn .*run the job again"):
        load_front(tmp_path)


def test_an_unknown_metric_is_a_torn_table(tmp_path: Path) -> None:
    write_front(tmp_path / FRONT_FILE, (row("a", 0.9, 0.5, 1.0),))
    text = (tmp_path / FRONT_FILE).read_text()
    (tmp_path / FRONT_FILE).write_text(text.replace(",False,accuracy,", ",False,f1,"))
    with pytest.raises(RunFolderError, match="is torn"):
        load_front(tmp_path)


def test_within_a_budget_the_metric_that_decided_chooses() -> None:
    plain = (row("even", 0.7, 0.8, 1.0), row("blind", 0.99, 0.5, 2.0))
    balanced = tuple(replace(one, metric="balanced_accuracy") for one in plain)
    assert Front(Path(), plain).pick(3.0).name == "blind"
    assert Front(Path(), balanced).pick(3.0).name == "even"


def test_the_balanced_accuracy_is_told_wherever_it_is_another_number() -> None:
    assert row("a", 0.99, 0.5, 1.0).words("select") == "99.0% select accuracy (50.0% balanced)"
    assert row("a", 0.75, 0.75, 1.0).words("select") == "75.0% select accuracy"
