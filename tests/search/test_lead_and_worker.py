"""Searches by several processes, on journal files and on a PostgreSQL server, with workers that die."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest
from worker_job import AXES, SPACE, evaluate

import mobinas
from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.arch.stage_presets import stage_preset
from mobinas.errors import SearchError
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.result import SearchResult
from mobinas.search.choice_space import Choices, ChoiceSpace, fingerprint
from mobinas.search.shared import WORKER_KEY, led, opened
from mobinas.search.space_file import space_from_json, space_to_json
from mobinas.search.study import pareto_search
from mobinas.search.worker import load_shared_study, work

N = 24


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    yield from postgres.serving()


@pytest.fixture(autouse=True)
def heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBINAS_HEARTBEAT_S", "1")


def search(storage: Any = None, **options: Any) -> SearchResult[Any]:
    options = {"n_trials": N, "sampler": "random", "seed": 5, **options}
    return pareto_search(SPACE, options.pop("evaluate", evaluate), AXES, storage=storage, **options)


def digests(result: SearchResult[Any]) -> list[str]:
    return [e.candidate.digest for e in result.history]


def same(found: SearchResult[Any], **options: Any) -> bool:
    serial = search(**options)
    return digests(found) == digests(serial) and found.front == serial.front


def test_a_journal_survives_a_killed_worker_and_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, _total: int, _text: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    part = search(tmp_path / "study", workers=2, progress=stop)
    assert 7 <= len(part.history) < N and part.interrupted, "Ctrl-C ends with what there is"
    monkeypatch.setenv("DEADLY", str(tmp_path))
    found = search(tmp_path / "study", workers=2)
    killed = [e for e in found.history[9:] if e.candidate["x0"] == 3]
    assert killed, "the test kills"
    assert all((tmp_path / e.candidate.name).exists() for e in killed)
    assert not any(e.error for e in found.history)
    assert same(found)


@pytest.fixture(params=["journal", pytest.param("database", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "journal":
        return str(tmp_path / "study")
    return str(request.getfixturevalue("server").url())


def test_a_search_continues_however_it_ended(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, _total: int, _text: str) -> None:
        if done % 3 == 0:
            raise KeyboardInterrupt

    def search_on(**options: Any) -> SearchResult[Any]:
        return search(storage, workers=1, study="ended", **options)

    with monkeypatch.context() as patch:
        patch.setenv("JOB_S", "0.2")
        early = search_on(progress=stop)  # a worker is in the midst of an evaluation
        late = search_on(timeout_s=1)
    assert 3 == len(early.history) <= len(late.history) < N
    assert set(digests(early)) <= set(digests(late))
    with pytest.raises(SearchError, match="5 evaluations in a row failed"):
        search_on(evaluate="worker_job:failing")
    found, alone = search_on(), search()
    assert digests(found) == digests(alone)
    assert 5 <= sum(bool(e.error) for e in found.history) <= 7
    assert all(e.error or e == same for e, same in zip(found.history, alone.history, strict=True))


@pytest.mark.slow
def test_a_database_survives_a_killed_worker(
    server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEADLY", str(tmp_path))
    found = search(server.url(), workers=2, study="killed", n_trials=4)
    assert len(list(tmp_path.iterdir())) == sum(e.candidate["x0"] == 3 for e in found.history) > 0
    assert same(found, n_trials=4)


def test_a_search_by_workers_stops_where_it_has_found_enough(tmp_path: Path) -> None:
    options = {"n_trials": 200, "n_start": 4, "stop_below": 0.02}
    found = search(tmp_path / "study", workers=1, **options)
    assert found.converged and 24 <= len(found.history) < 200
    again = search(tmp_path / "study", workers=0, **options)
    assert again.converged and digests(again) == digests(found)


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_deadly_candidate_counts_as_failed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEADLY", str(tmp_path))
    monkeypatch.setenv("ALWAYS", how)
    found = search(tmp_path / "study", workers=1, n_trials=6, tries=2)
    errors = {e.candidate["x0"]: e.error for e in found.history}
    assert errors.pop(3) == "its worker died 2 times"
    assert set(errors.values()) == {""}
    assert len(set(digests(found))) == 6
    options: dict[str, Any] = {"workers": 1, "n_trials": 6, "tries": 2}
    assert search(tmp_path / "study", **options).history == found.history
    again = search(tmp_path / "study", retry_failed=True, **options)
    assert again.history == found.history, "it had all its tries again"
    monkeypatch.delenv("ALWAYS")
    assert same(search(tmp_path / "study", retry_failed=True, **options), n_trials=6)
    mended = search(tmp_path / "study", **options)
    assert not any(e.error for e in mended.history) and digests(mended) == digests(found)


@pytest.mark.slow
def test_deadly_candidates_beside_each_other_all_count_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEADLY", str(tmp_path))
    monkeypatch.setenv("ALWAYS", "kill")
    first = [Choices({name: 3 if name == "x0" else k for name in SPACE.choices}) for k in range(3)]
    options: dict[str, Any] = {"n_trials": 4, "tries": 3, "start": lambda _rng: first, "n_start": 3}
    found = search(tmp_path / "study", workers=1, **options)
    assert [e.error for e in found.history[:3]] == ["its worker died 3 times"] * 3


def test_workers_that_die_before_any_candidate_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = "import os, sys\nsys.stderr.write('no such driver\\n')\nos._exit(7)\n"
    (tmp_path / "torn_job.py").write_text(torn)
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        r"\d workers died since an evaluation last ended, the last with exit status 7: no such driver; call"
    )
    with pytest.raises(SearchError, match=text):
        search(tmp_path / "study", workers=1, tries=2, evaluate="torn_job:evaluate")


def test_answers_that_cannot_be_meant_are_failures_of_their_candidates(tmp_path: Path) -> None:
    found = search(tmp_path / "study", workers=1, evaluate="worker_job:sometimes_unfinite")
    failed = [e for e in found.history if e.error]
    assert {e.error for e in failed} == {"'gain' is nan; it must be a finite number"}
    assert [e.candidate["x0"] for e in failed] == [3] * len(failed)
    assert len(found.history) == N
    with pytest.raises(SearchError, match=r"5 evaluations in a row failed.*'gain' is nan"):
        search(tmp_path / "other", workers=1, evaluate="worker_job:unfinite")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"evaluate": lambda c: evaluate(c)}, "define it at the top level of a module"),
        ({"evaluate": "worker_job.evaluate"}, "must be module:function"),
        ({"workers": -1}, "workers is -1"),
        ({"tries": 0}, "tries is 0"),
        ({"retry_failed": True, "workers": None}, "retry_failed is for a search with workers"),
        ({"storage": None}, "workers need a storage"),
        ({"storage": "mysql://root:s3cret-word@localhost/x"}, "'mysql://...' is no PostgreSQL URL"),
        ({"storage": "sqlite:///x.db", "evaluate": lambda c: evaluate(c)}, "is no PostgreSQL URL"),
        ({"storage": "postgresql://u:s3cret-word@127.0.0.1:1/x"}, "l://u@127.0.0.1:1/x cannot be .*refused"),
        ({"storage": "postgresql://u@127.0.0.1:1/x?password=s3cret-word"}, "1:1/x cannot be used: .*refused"),
        ({"storage": "postgresql://u:pa@s3cret-word@127.0.0.1:1/x"}, "write @ in a password as %40"),
        ({"storage": "postgresql://u/s3cret-word@127.0.0.1:1/x"}, "write @ in a password as %40"),
        ({"storage": "postgresql:/u:s3cret-word@127.0.0.1:1/x"}, "looks like a database's address"),
        ({"storage": "//u:s3cret-word@127.0.0.1:1/x", "workers": None}, "looks like a database's address"),
        ({"storage": "host=127.0.0.1 password=s3cret-word"}, "looks like a database's address"),
        ({"storage": "postgresql://u:s3cret-word@127.0.0.1:port/x"}, "is no PostgreSQL URL"),
    ],
)
def test_bad_input(
    tmp_path: Path, options: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"storage": tmp_path / "study", "workers": 1, **options}
    with pytest.raises(SearchError, match=text) as caught:
        search(**options)
    assert "s3cret-word" not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_wrong_password_is_told_and_never_shown(server: postgres.Postgres) -> None:
    url = server.url(password=(wrong := f"word{os.getpid()}"))
    for call in (search, lambda url: work(url, "any")):
        with pytest.raises(SearchError, match="password authentication failed") as caught:
            call(url)
        assert wrong not in "".join(traceback.format_exception(caught.value))


def test_a_worker_waits_for_the_server(server: postgres.Postgres) -> None:
    search(server.url(), workers=0, study="waited", timeout_s=0.0)
    said: list[str] = []
    server.stop()
    try:
        with pytest.raises(SearchError, match=r"refused.*\(waited 1 s\)"):
            work(server.url(), "waited", wait_s=1, say=said.append)
        assert len(said) == 1 and "waiting up to 1 s" in said[0] and postgres.PASSWORD not in said[0]

        def start(text: str) -> None:
            said.append(text)
            threading.Timer(1, server.start).start()

        assert work(server.url(), "waited", wait_s=60, say=start).evaluations == 0
        assert len(said) == 2
    finally:
        if not server.runs():
            server.start()


def test_a_worker_waits_for_the_search(tmp_path: Path) -> None:
    journal, said = tmp_path / "study", list[str]()
    with pytest.raises(SearchError, match=r"there is no file .*study; begin the search"):
        work(journal, "late", wait_s=0)
    assert not list(tmp_path.iterdir())

    def start(text: str) -> None:
        said.append(text)
        for name in {1: ["early"], 2: ["late"]}.get(len(said), ()):
            threading.Thread(target=search, args=(journal,), kwargs={**given, "study": name}).start()

    given = {"workers": 0, "n_trials": 2}
    assert work(journal, "late", wait_s=20, say=start) == (2, "the search has ended")
    assert [text.partition("; ")[0] for text in said[:2]] == [
        f"waiting up to 20 s: there is no file {journal}",
        f"waiting up to 20 s: {journal} holds no study 'late' for workers",
    ]
    work(journal, "early")
    with pytest.raises(SearchError, match=r"'mobinas run --study'; did you mean 'early'\?$"):
        work(journal, "earlie", wait_s=0)


def test_what_does_not_belong_together_is_refused(
    server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for storage in (server.url(), str(tmp_path / "study")):
        with pytest.raises(SearchError, match=r"(holds no study 'belong'.*begin it with|there is no file)"):
            work(storage, "belong", wait_s=0)
        search(storage, workers=0, study="belong", timeout_s=0.0)
        for change in ({"seed": 6}, {"sampler": "nsga2"}, {"n_start": 3}):
            with pytest.raises(SearchError, match=f"another search: its {next(iter(change))} is"):
                search(storage, workers=0, study="belong", **change)
        other = ChoiceSpace({"x0": (0, 1)})
        with pytest.raises(SearchError, match="another search: its space"):
            pareto_search(other, evaluate, AXES, n_trials=2, sampler="random", seed=5, storage=storage,
                          workers=0, study="belong")  # fmt: skip
        with (
            opened(storage, "belong") as shared,
            led(shared, "belong"),
            pytest.raises(SearchError, match="is being run by another process; join it with"),
        ):
            search(storage, workers=0, study="belong")
        with monkeypatch.context() as patch:
            patch.setattr(mobinas, "__version__", "9.9")
            with pytest.raises(SearchError, match=r"is of mobinas .*, this is 9.9; install that version"):
                work(storage, "belong")
    search(tmp_path / "whole", n_trials=2)
    with pytest.raises(SearchError, match="another search: it was begun without workers;"):
        search(tmp_path / "whole", workers=0)


def test_tables_of_another_optuna_are_refused(server: postgres.Postgres) -> None:
    from sqlalchemy import text

    def set_version(shared: Any, version: str) -> str:
        with shared.storage.engine.begin() as connection:
            known = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})
        return str(known)

    with opened(server.url(), "any") as shared:
        known = set_version(shared, "v2.6.0.a")
        try:
            with pytest.raises(SearchError, match="optuna storage upgrade"):
                work(server.url(), "any")
        finally:
            set_version(shared, known)


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        ChoiceSpace({"x": [1, 2]}),
        SearchSpace(Task(10, 1), (8, 12), (3,), (4,), (("skip_connect", "conv_3x3"),), nodes=2),
        stage_preset("small", Task(10, 1)),
    ],
)
def test_workers_rebuild_the_space(space: Any) -> None:
    import json

    again = space_from_json(json.loads(json.dumps(space_to_json(space))))
    assert again == space
    assert fingerprint(again) == fingerprint(space)


def started(server: postgres.Postgres, study: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "MOBINAS_STORAGE": server.url(), "PYTHONPATH": path, "JOB_S": "0.3"}
    command = [sys.executable, "-m", "mobinas", "worker", "--study", study]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def wait_for_workers(server: postgres.Postgres, study: str, count: int) -> None:
    until = time.monotonic() + 60
    with opened(server.url(), study) as shared:
        trials = load_shared_study(shared, study).get_trials
        while len({t.user_attrs.get(WORKER_KEY) for t in trials(deepcopy=False)} - {None}) < count:
            assert time.monotonic() < until, "all workers come to work"
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_two_of_four_killed_and_the_server_restarted(server: postgres.Postgres, sampler: str) -> None:
    found: list[SearchResult[Any]] = []
    options = {"n_trials": 100, "sampler": sampler, "n_start": 10, "study": f"restart-{sampler}"}
    leading = threading.Thread(target=lambda: found.append(search(server.url(), workers=0, **options)))
    leading.start()
    time.sleep(2)
    workers = [started(server, f"restart-{sampler}") for _ in range(4)]
    rng = random.Random(1)
    wait_for_workers(server, f"restart-{sampler}", 4)
    for worker in workers[:2]:
        time.sleep(rng.uniform(0, 2))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    server.stop()
    time.sleep(1)
    server.start()
    leading.join(timeout=120)
    assert found, "the search has ended"
    assert [worker.wait(timeout=30) for worker in workers[2:]] == [0, 0]
    assert len(set(digests(found[0]))) == len(found[0].history) == 100
    assert not any(e.error for e in found[0].history)
    assert found[0].front == ParetoFront.of(found[0].history, AXES)
    again = search(server.url(), workers=0, **options)
    assert digests(again) == digests(found[0]), "the record holds what was returned"
    del options["study"]
    assert sampler != "random" or same(found[0], **options)
