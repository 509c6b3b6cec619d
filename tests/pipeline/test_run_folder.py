import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mobinas.config import dump_toml, load_config
from mobinas.errors import RunFolderError
from mobinas.pipeline.run_folder import RunFolder

JOB = 'data = "digits"\nseed = 0\n'


def test_a_finished_artefact_is_not_made_again(tmp_path: Path) -> None:
    calls = []

    def make() -> dict[str, float]:
        calls.append(1)
        return {"accuracy": 0.1 + 0.2}

    for _ in range(2):
        with RunFolder(tmp_path / "run", JOB) as folder:
            assert folder.data("a/b.json", make) == {"accuracy": 0.1 + 0.2}
    assert len(calls) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b'{"accuracy": 0.9}'])
def test_a_torn_artefact_is_made_again(damage: bytes, tmp_path: Path) -> None:
    with RunFolder(tmp_path, JOB) as folder:
        folder.data("a.json", lambda: {"accuracy": 0.1})
    (tmp_path / "a.json").write_bytes(damage)
    with RunFolder(tmp_path, JOB) as folder:
        assert not folder.is_finished("a.json")
        assert folder.data("a.json", lambda: {"accuracy": 0.2}) == {"accuracy": 0.2}


def test_a_torn_index_makes_everything_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path, JOB) as folder:
        folder.data("a.json", lambda: [1])
    (tmp_path / "artefacts.json").write_text("[", encoding="utf-8")
    with RunFolder(tmp_path, JOB) as folder:
        assert folder.data("a.json", lambda: [2]) == [2]


def test_an_artefact_that_failed_is_not_finished(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise OSError("disk")

    with RunFolder(tmp_path, JOB) as folder:
        with pytest.raises(OSError, match="disk"):
            folder.file("a.bin", fail)
        assert not folder.is_finished("a.bin")


def test_another_job_is_refused_with_the_difference(tmp_path: Path) -> None:
    with RunFolder(tmp_path, JOB) as folder:
        folder.data("profile.json", lambda: {})
    with pytest.raises(RunFolderError, match=r"seed was 0 there, now 1"):
        RunFolder(tmp_path, JOB.replace("seed = 0", "seed = 1"))


def test_foreign_files_and_plain_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"thesis\.txt"):
        RunFolder(tmp_path, JOB)
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder(tmp_path / "thesis.txt", JOB)


def test_a_second_process_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    code = f"""
        import time
        from pathlib import Path
        from mobinas.pipeline.run_folder import RunFolder
        with RunFolder(Path({str(tmp_path)!r}), {JOB!r}):
            print("locked", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        with pytest.raises(RunFolderError, match=f"in use by process {process.pid}"):
            RunFolder(tmp_path, JOB)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with RunFolder(tmp_path, JOB):
        pass


def test_a_folder_without_work_may_change_its_job(tmp_path: Path) -> None:
    other = JOB.replace("digits", "photos")
    with RunFolder(tmp_path, JOB) as folder:
        folder.data("data.json", lambda: {"digest": "x"})
    with RunFolder(tmp_path, other) as folder:
        assert not folder.is_finished("data.json")
        folder.data("profile.json", lambda: {})
    with pytest.raises(RunFolderError, match=r"data was 'photos' there, now 'digits'"):
        RunFolder(tmp_path, JOB)


def test_the_recipe_may_change_until_the_front_is_frozen(tmp_path: Path) -> None:
    before, after = (f"{JOB}\n[train]\nlearning_rate = {rate}\n" for rate in (0.2, 0.1))
    with RunFolder(tmp_path, before) as folder:
        for name in ("profile.json", "supernet.json", "plan.json", "trained/a.json"):
            folder.data(name, lambda: {})
        (tmp_path / "trained" / "b.checkpoint.pt").touch()
        (tmp_path / "other.checkpoint.pt").touch()
    with RunFolder(tmp_path, after) as folder:
        assert any("learning_rate was 0.2" in note for note in folder.notes)
    # Killed before it made anything: what the old recipe trained stays unfinished.
    with RunFolder(tmp_path, after) as folder:
        assert not folder.notes
        assert folder.is_finished("profile.json") and folder.is_finished("supernet.json")
        assert not folder.is_finished("plan.json") and not folder.is_finished("trained/a.json")
        assert not (tmp_path / "trained" / "b.checkpoint.pt").exists()
        assert (tmp_path / "other.checkpoint.pt").exists()
        folder.data("front.json", lambda: {})
    with pytest.raises(RunFolderError, match=r"train\.learning_rate was 0\.1 there, now 0\.2"):
        RunFolder(tmp_path, before)


def test_the_supernet_may_change_until_it_is_trained(tmp_path: Path) -> None:
    before, after = (f"{JOB}\n[supernet]\nbatch_size = {size}\n" for size in (64, 32))
    with RunFolder(tmp_path, before) as folder:
        folder.data("profile.json", lambda: {})
    with RunFolder(tmp_path, after) as folder:
        assert folder.is_finished("profile.json")
        folder.data("supernet.json", lambda: {})
    with pytest.raises(RunFolderError, match=r"supernet\.batch_size was 32 there, now 64"):
        RunFolder(tmp_path, before)


def test_how_fast_a_job_runs_is_not_part_of_it(tmp_path: Path) -> None:
    with RunFolder(tmp_path, JOB + "threads = 2\n") as folder:
        folder.data("profile.json", lambda: {})
    with RunFolder(tmp_path, JOB + "threads = 1\n") as folder:
        assert folder.is_finished("profile.json")


def test_a_key_that_did_not_exist_yet_counts_as_its_default(tmp_path: Path) -> None:
    whole = dump_toml(load_config("smoke"))
    assert "order = 1\n" in whole
    with RunFolder(tmp_path, whole.replace("order = 1\n", "")) as folder:
        folder.data("supernet.json", lambda: 1)
    with RunFolder(tmp_path, whole) as folder:
        assert folder.is_finished("supernet.json")
    with pytest.raises(RunFolderError, match=r"supernet\.order was 1 there, now 2"):
        RunFolder(tmp_path, whole.replace("order = 1\n", "order = 2\n"))


def test_batches_may_shrink_where_memory_ran_out(tmp_path: Path) -> None:
    def job(**keys: int) -> str:
        return dump_toml(load_config("digits", {f"supernet.{key}": value for key, value in keys.items()}))

    checkpoint = tmp_path / "supernet.checkpoint.pt"
    with RunFolder(tmp_path, job()) as folder:
        folder.data("profile.json", lambda: 1)
        checkpoint.write_text("epochs", encoding="utf-8")
    with RunFolder(tmp_path, job(batch_size=8)) as folder:
        assert checkpoint.exists() and "supernet.batch_size was" in folder.notes[0]
        folder.data("supernet.json", lambda: 1)
    with RunFolder(tmp_path, job(batch_size=8, elastic_batch_size=8)) as folder:
        assert checkpoint.exists()
        folder.data("elastic.pt", lambda: 1)
    for keys in ({"batch_size": 4, "elastic_batch_size": 8}, {"batch_size": 8, "elastic_batch_size": 4}):
        with pytest.raises(RunFolderError, match="another job"):
            RunFolder(tmp_path, job(**keys))
