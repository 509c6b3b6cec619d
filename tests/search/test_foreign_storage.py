"""Storages that are another program's, or ours with more in them, in every form that a user may name."""

from pathlib import Path
from typing import Any

import foreign
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_search import AXES, SMALL, answer

from mobinas.errors import MobinasError, SearchError
from mobinas.metrics.result import SearchResult
from mobinas.search.study import pareto_search
from mobinas.search.worker import work


def search(storage: Any, n: int = 2, **more: Any) -> SearchResult[Any]:
    return pareto_search(SMALL, answer, AXES, n_trials=n, sampler="random", storage=storage, **more)


def journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ("study.db", "study.db is an SQLite database, not a readable Optuna journal"),
        (Path("study.db"), "study.db is an SQLite database"),
        ("./study.db", "SQLite database"),
        ("sqlite:///study.db", "'sqlite://...' is no PostgreSQL URL"),
        (Path("sqlite:///study.db"), "'sqlite:...' is no PostgreSQL URL"),
        ("sqlite:study.db", "'sqlite:...' is no PostgreSQL URL"),
        ("file:///tmp/study.db", "is no PostgreSQL URL"),
        ("study.db/study", "lies below .*study.db, which is no folder"),
        ("", "is a folder; name a file in it"),
        (b"study.db", "storage is a bytes; give a file's path"),
        (7, "storage is a int; give"),
    ],
)
def test_an_sqlite_study_is_left_alone_however_it_is_named(
    storage: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    foreign.sqlite(tmp_path / "study.db")
    before = foreign.snapshot(tmp_path)
    for more in ({}, {"workers": 0}):
        with pytest.raises(MobinasError, match=text):
            pareto_search(SMALL, "worker_job:evaluate", AXES, n_trials=1, storage=storage, **more)
    if isinstance(storage, str | Path):
        with pytest.raises(MobinasError, match=text):
            work(storage, "mobinas", wait_s=0)
    assert foreign.snapshot(tmp_path) == before


def test_an_object_of_optuna_is_no_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match="storage is a InMemoryStorage; give a file's path"):
        search(optuna.storages.InMemoryStorage())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["theirs", "mobinas"])
@pytest.mark.parametrize("end", [None, -1, -20])
def test_a_journal_of_plain_optuna_is_left_alone(tmp_path: Path, name: str, end: int | None) -> None:
    path = tmp_path / "study"
    optuna.create_study(
        storage=journal(path), study_name=name, directions=["maximize", "minimize"]
    ).add_trial(optuna.create_trial(values=[1.0, 2.0]))
    path.write_bytes(path.read_bytes()[:end])
    before = foreign.snapshot(tmp_path)
    for more in ({}, {"workers": 0}):
        with pytest.raises(SearchError, match=rf"journal \({name}\) that was not begun by pareto_search"):
            pareto_search(SMALL, "worker_job:evaluate", AXES, n_trials=1, storage=path, **more)
    assert foreign.snapshot(tmp_path) == before


def test_an_empty_study_of_another_name_is_theirs(tmp_path: Path) -> None:
    optuna.create_study(storage=journal(tmp_path / "study"), study_name="theirs", directions=["minimize"])
    before = foreign.snapshot(tmp_path)
    with pytest.raises(SearchError, match="was not begun by pareto_search"):
        search(tmp_path / "study")
    with pytest.raises(SearchError, match="no search has begun in"):
        work(tmp_path / "study", "mobinas", wait_s=0)
    assert foreign.snapshot(tmp_path) == before


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_journal_of_ours_with_a_study_of_others_goes_on(tmp_path: Path, first: str) -> None:
    path = tmp_path / "study"
    if first == "ours":
        search(path)
        path.with_name("study.lock").unlink()
        foreign.plain_optuna(path)
    else:  # as versions did that took any journal
        search(tmp_path / "own")
        foreign.plain_optuna(path)
        ours = (tmp_path / "own").read_bytes().replace(b'"study_id":0', b'"study_id":1')
        path.write_bytes(path.read_bytes() + ours)
    whole = search(None, 4)
    assert search(path, 4).history == whole.history
    theirs = optuna.load_study(study_name="theirs", storage=journal(path))
    assert [trial.value for trial in theirs.trials] == [1.0]


@pytest.mark.parametrize("note", ["do not lose this", "do not lose this\n"])
def test_what_no_search_has_written_is_not_cut(tmp_path: Path, note: str) -> None:
    search(tmp_path / "study")
    with (tmp_path / "study").open("a") as file:
        file.write(note)
    before = foreign.snapshot(tmp_path)
    with pytest.raises(SearchError, match=r"not a readable Optuna journal, .* it was left as it is"):
        search(tmp_path / "study", 4)
    assert foreign.snapshot(tmp_path) == before


@pytest.mark.parametrize("ending", [b"\r\n", b""])
def test_a_journal_that_was_saved_on_windows_goes_on(tmp_path: Path, ending: bytes) -> None:
    search(tmp_path / "study")
    lines = (tmp_path / "study").read_bytes().splitlines()
    (tmp_path / "study").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + ending)
    assert search(tmp_path / "study", 4).history == search(None, 4).history


def test_a_link_to_a_journal_of_ours_is_followed_and_locked_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    search(tmp_path / "disk" / "study")
    (tmp_path / "study").symlink_to("disk/study")
    assert search(tmp_path / "study", 4).history == search(None, 4).history
    assert sorted(one.name for one in tmp_path.iterdir()) == ["disk", "study"]
    assert (tmp_path / "study").is_symlink()


def test_a_link_at_a_worker_s_lock_is_not_followed(tmp_path: Path) -> None:
    shared: dict[str, Any] = {
        "workers": 0,
        "timeout_s": 0.0,
        "sampler": "random",
        "storage": tmp_path / "study",
    }
    pareto_search(SMALL, "worker_job:evaluate", AXES, n_trials=1, **shared)
    (tmp_path / "study.locks" / "somebody").symlink_to("../elsewhere")
    with pytest.raises(MobinasError, match="somebody has the name of a lock"):
        pareto_search(SMALL, "worker_job:evaluate", AXES, n_trials=1, **shared)
    assert not (tmp_path / "elsewhere").exists()


def test_an_empty_file_may_become_a_journal(tmp_path: Path) -> None:
    (tmp_path / "study").touch()
    with pytest.raises(SearchError, match=r"no search has begun in .*study"):
        work(tmp_path / "study", "mobinas", wait_s=0)
    assert [one.name for one in tmp_path.iterdir()] == ["study"]
    assert len(search(tmp_path / "study").history) == 2
