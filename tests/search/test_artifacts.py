"""Files of evaluations, and files for all workers: in a folder and in S3, torn, changed and unreachable."""

import errno
import io
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from worker_job import AXES, SPACE, evaluate, evaluate_with_files

from mobinas.errors import ArtifactError, SearchError
from mobinas.metrics.evaluation import StoredFile
from mobinas.metrics.result import SearchResult
from mobinas.search.artifacts import Artifacts, attach_file, given_file
from mobinas.search.shared import opened
from mobinas.search.study import pareto_search
from mobinas.search.worker import load_shared_study, work


def search(place: Path, function: Any = evaluate_with_files, **options: Any) -> SearchResult[Any]:
    weights = place.parent / "weights.txt"
    if not weights.exists():
        weights.write_text("w" * 1000)
    options = {"n_trials": 5, "sampler": "random", "seed": 5, "artifacts": place, **options}
    return pareto_search(SPACE, function, AXES, files={"weights.txt": weights}, **options)


def logs(result: SearchResult[Any], place: Any, folder: Path) -> list[str]:
    folder.mkdir()
    artifacts = Artifacts(place)
    return [artifacts.fetch(e.files["log.txt"], folder).read_text() for e in result.history]


def expected(result: SearchResult[Any]) -> list[str]:
    return [f"{e.candidate.name} {'w' * 1000}" for e in result.history]


def test_files_stand_in_the_record_and_outlast_a_resume(tmp_path: Path) -> None:
    place = tmp_path / "files"
    search(place, storage=tmp_path / "study", n_trials=3)
    found = search(place, storage=tmp_path / "study")
    assert logs(found, place, tmp_path / "got") == expected(found)
    (tmp_path / "weights.txt").write_text("other")
    refused = "another search: its files are others"
    with pytest.raises(SearchError, match=refused):
        search(place, storage=tmp_path / "study")
    with pytest.raises(SearchError, match=refused):
        pareto_search(SPACE, evaluate, AXES, storage=tmp_path / "study", n_trials=5, sampler="random", seed=5)


def test_workers_get_files_and_leave_files_though_they_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, storage = tmp_path / "files", str(tmp_path / "study")
    (tmp_path / "dead").mkdir()
    monkeypatch.setenv("DEADLY", str(tmp_path / "dead"))
    found = search(place, storage=storage, workers=1, n_trials=6)
    killed = len(list((tmp_path / "dead").iterdir()))
    assert killed > 0, "the test kills, after the file was attached"
    assert logs(found, place, tmp_path / "got") == expected(found)
    with opened(storage, "mobinas") as shared:
        study = load_shared_study(shared, "mobinas")
        assert [m.filename for m in get_all_artifact_meta(study)] == ["weights.txt"]
        named = sum(len(get_all_artifact_meta(t, storage=shared.storage)) for t in study.trials)
    assert named == 6, "what dead workers had uploaded is named nowhere"
    assert len(list(place.iterdir())) == 6 + killed + 1
    search(place, storage=storage, workers=0, n_trials=6)
    assert len(list(place.iterdir())) == 6 + killed + 1, "weights are handed out once"


def test_half_an_upload_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, full = tmp_path / "files", FileSystemArtifactStore.write

    def torn(self: FileSystemArtifactStore, artifact: str, body: BinaryIO) -> None:
        full(self, artifact, io.BytesIO(body.read()[:10]))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileSystemArtifactStore, "write", torn)
        with pytest.raises(ArtifactError, match=r"cannot store or read 'log.txt' in .*: No space left"):
            search(place, storage=tmp_path / "study")
    assert len(list(place.iterdir())) == 1
    found = search(place, storage=tmp_path / "study")
    assert [e.error for e in found.history] == [""] * 5, "a full disk is not the candidate's fault"
    assert logs(found, place, tmp_path / "got") == expected(found)


def test_a_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    place, storage = tmp_path / "files", str(tmp_path / "study")
    search(place, storage=storage, workers=0, timeout_s=0.0)
    (weights,) = place.iterdir()
    weights.write_text("w" * 999)
    with pytest.raises(ArtifactError, match=r"'weights.txt' in .* is torn or was changed"):
        work(storage, "mobinas")
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"'weights.txt' in .*: it is not there"):
        work(storage, "mobinas")
    with pytest.raises(ArtifactError, match=r"'../x'; it must be a name without folders"):
        Artifacts(place).fetch(StoredFile("../x", weights.name, "", 0), tmp_path)
    with pytest.raises(ArtifactError, match=r"no folder .*elsewhere for files on this machine; mount it"):
        work(storage, "mobinas", artifacts=tmp_path / "elsewhere")


def test_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto, boto3 = (
        pytest.importorskip(name, reason=f"no {name}; pip install moto[server]") for name in ("moto", "boto3")
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    place: Any = "s3://bucket/some/where"
    (tmp_path / "weights.txt").write_text("w" * 1000)
    with moto.mock_aws():
        with pytest.raises(ArtifactError, match=r"'log.txt' in s3://bucket/.*bucket does not exist"):
            search(tmp_path, artifacts=place)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        found = search(tmp_path / "x", artifacts=place)
        assert logs(found, place, tmp_path / "got") == expected(found)
        keys = [one["Key"] for one in client.list_objects(Bucket="bucket")["Contents"]]
        assert len(keys) == 5 and all(key.startswith("some/where/") for key in keys)
        file = found.history[0].files["log.txt"]
        client.put_object(Bucket="bucket", Key=f"some/where/{file.artifact}", Body=b"other")
        with pytest.raises(ArtifactError, match="torn or was changed"):
            Artifacts(place).fetch(file, tmp_path)
        client.delete_object(Bucket="bucket", Key=f"some/where/{file.artifact}")
        with pytest.raises(ArtifactError, match="it is not there"):
            Artifacts(place).fetch(file, tmp_path)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("gs://bucket", "must be a folder or s3://bucket/prefix"),
        ("s3://", "must be a folder or s3://bucket/prefix"),
        ("s3://key:s3cret@bucket/x", "credentials are those of boto3"),
        ("/dev/null/x", "cannot make the folder"),
    ],
)
def test_places_that_cannot_be_meant(where: str, text: str) -> None:
    with pytest.raises(ArtifactError, match=text) as caught:
        Artifacts(where, make=True)
    assert "s3cret" not in str(caught.value)


def test_misuse_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="attach_file is for functions that pareto_search"):
        attach_file(tmp_path)
    with pytest.raises(ArtifactError, match="given_file is for functions that pareto_search"):
        given_file("x")
    with pytest.raises(SearchError, match="files for workers need a place"):
        search(tmp_path / "files", storage=tmp_path / "study", workers=1, artifacts=None)
    with pytest.raises(ArtifactError, match="attach_file needs a place"):
        search(tmp_path / "files", artifacts=None)

    def asks_for_another(choices: Any) -> dict[str, float]:
        given_file("weight.txt")
        return evaluate(choices)

    with pytest.raises(ArtifactError, match=r"no file 'weight.txt'; did you mean 'weights.txt'"):
        search(tmp_path / "files", asks_for_another)

    def names_a_folder(choices: Any) -> dict[str, float]:
        attach_file(given_file("weights.txt"), "../x")
        return evaluate(choices)

    with pytest.raises(ArtifactError, match="must be a name without folders"):
        search(tmp_path / "files", names_a_folder)
