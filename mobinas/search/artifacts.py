"""Files beside the record of a search: what evaluations leave, and what every worker needs.

They lie in an artifact store of Optuna's: a folder, or a bucket of S3. A file counts once the study names it
with its SHA-256, which happens after it has arrived; half an upload has no name there and is never read.
"""

import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mobinas.errors import ArtifactError, did_you_mean
from mobinas.files import check_ours, sha256_of
from mobinas.metrics.evaluation import StoredFile

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

_BLOCK = 1 << 20
_INSTALL = "pip install 'mobinas[s3]'"
_META = "artifacts:"
# boto3's own limits of a minute would let a server that accepts and is silent hold a job for five.
_CONNECT_S, _ANSWER_S = 5, 20
# A training of hours must not be lost to a server that is being restarted: boto3 waits some 30 s between
# seven attempts (8 s between its own five). Where nothing can be lost yet, two are enough.
_ATTEMPTS, QUICK = 7, 2
_FOLDER_FIX = "check the place (--artifacts) and your rights there"
_BUCKET_FIX = (
    "check the bucket (--artifacts), AWS_ENDPOINT_URL, and your credentials (AWS_ACCESS_KEY_ID, ~/.aws)"
)


class Artifacts:
    """A folder, or ``s3://bucket/prefix``.

    Attributes:
        where: The place, the same on every machine; never a credential.
    """

    def __init__(self, where: str | Path, *, make: bool = False, attempts: int = _ATTEMPTS) -> None:
        """Opens the store; a bucket's credentials and endpoint are those of boto3's own settings.

        Args:
            where: The place.
            make: Whether a missing folder is made. A worker's would be another than the search's.
            attempts: How often a bucket's server is asked, unless AWS_MAX_ATTEMPTS says so.

        Raises:
            ArtifactError: No such kind of place, no such folder, or no boto3 for a bucket.
        """
        parsed = urlsplit(str(where))
        if "://" not in str(where):
            self.where = str(Path(where).absolute())
            self._prefix, self._store = "", _folder_store(Path(self.where), make)
        elif parsed.scheme != "s3" or not parsed.netloc or "@" in parsed.netloc or parsed.query:
            raise ArtifactError(
                f"artifacts '{parsed.scheme}://...' must be a folder or s3://bucket/prefix; credentials are "
                "those of boto3 (AWS_ACCESS_KEY_ID, ~/.aws)"
            )
        else:
            self.where = str(where)
            self._prefix = "".join(f"{part}/" for part in parsed.path.split("/") if part)
            self._store = _bucket_store(parsed.netloc, attempts)
        self._fetched: dict[Path, str] = {}

    def check(self) -> None:
        """Writes a few bytes, reads them, and removes them.

        Raises:
            ArtifactError: That cannot be done.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "check"
            path.write_bytes(os.urandom(16))
            stored = self.put(path, path.name)
            self.fetch(stored, Path(folder))
        with self._explained(stored.name):
            self._store.remove(self._prefix + stored.artifact)

    def put(self, path: Path, name: str) -> StoredFile:
        """Stores a file's content.

        Raises:
            ArtifactError: The file cannot be read, or the store not written.
        """
        try:
            digest, size = sha256_of(path), path.stat().st_size
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror}") from None
        stored = StoredFile(name, str(uuid.uuid4()), digest, size)
        with self._explained(name), path.open("rb") as file:
            self._store.write(self._prefix + stored.artifact, file)
        return stored

    def fetch(self, stored: StoredFile, folder: Path) -> Path:
        """Brings a file into a folder, under its name; one that this object has brought before gives way.

        Raises:
            ArtifactError: It cannot be read, is not what was stored, or another file has its name there.
        """
        digest, target = hashlib.sha256(), folder / _plain(stored.name)
        check_ours(
            target,
            lambda real: sha256_of(real) in (stored.sha256, self._fetched.get(target)),
            f"the file '{stored.name}' of a search",
            "choose another folder",
            ArtifactError,
        )
        handle, part = tempfile.mkstemp(dir=folder, prefix=".fetched")
        try:
            with (
                os.fdopen(handle, "wb") as file,
                self._explained(stored.name),
                self._store.open_reader(self._prefix + stored.artifact) as source,
            ):
                while block := source.read(_BLOCK):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != stored.sha256:
                raise ArtifactError(
                    f"file '{stored.name}' in {self.where} is torn or was changed; make it anew"
                )
            Path(part).replace(target)
            self._fetched[target] = stored.sha256
        finally:
            Path(part).unlink(missing_ok=True)
        return target

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        from optuna.artifacts.exceptions import ArtifactNotFound

        bucket_errors: tuple[type[Exception], ...] = ()
        if self.where.startswith("s3://"):
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError

            bucket_errors = (Boto3Error, BotoCoreError, ClientError)
        try:
            yield
        except ArtifactNotFound:
            problem = "it is not there"
        except OSError as error:
            problem = error.strerror or str(error)
        except bucket_errors as error:
            problem = _without_credentials(error)
        else:
            return
        fix = _BUCKET_FIX if bucket_errors else _FOLDER_FIX
        raise ArtifactError(f"cannot store or read '{name}' in {self.where}: {problem}; {fix}") from None


def _folder_store(path: Path, make: bool) -> "ArtifactStore":
    from optuna.artifacts import FileSystemArtifactStore

    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot make the folder {path} for files: {error.strerror}") from None
    if not path.is_dir():
        raise ArtifactError(f"no folder {path} for files on this machine; mount it, or name it: --artifacts")
    return FileSystemArtifactStore(path)


def _bucket_store(bucket: str, attempts: int) -> "ArtifactStore":
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ArtifactError(f"artifacts in S3 need boto3; install it with: {_INSTALL}") from None
    from optuna.artifacts import Boto3ArtifactStore

    try:
        limits = Config(connect_timeout=_CONNECT_S, read_timeout=_ANSWER_S)
        if "AWS_MAX_ATTEMPTS" not in os.environ:
            limits = limits.merge(Config(retries={"mode": "legacy", "total_max_attempts": attempts}))
        return Boto3ArtifactStore(bucket, boto3.client("s3", config=limits))
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        problem = _without_credentials(error)
    raise ArtifactError(f"artifacts in S3: {problem}; see boto3's settings, such as AWS_ENDPOINT_URL")


def _without_credentials(error: Exception) -> str:
    """What boto3 said, in one line; it repeats the endpoint's URL, whose user and password go."""
    return re.sub(r"[^\s/\"']+@", "***@", " ".join(str(error).split()))


def name_stored(set_attr: Callable[[str, str], None], stored: StoredFile) -> None:
    """Tells Optuna of a stored file, in the form of its `upload_artifact`, so that its dashboard shows it.

    Args:
        set_attr: Sets a system attribute of the trial or study that the file belongs to.
        stored: The file.
    """
    from optuna.artifacts import ArtifactMeta

    kind, encoding = guess_type(stored.name)
    meta = ArtifactMeta(stored.artifact, stored.name, kind or "application/octet-stream", encoding)
    set_attr(_META + stored.artifact, json.dumps(asdict(meta)))


def is_artifact_attr(key: str) -> bool:
    """Whether a system attribute is one of `name_stored`."""
    return key.startswith(_META)


@dataclass(frozen=True, slots=True)
class Files:
    """What evaluations of one process may read and write.

    Attributes:
        artifacts: Where attached files go; None without a place.
        given: By name, files that every evaluation may read.
    """

    artifacts: Artifacts | None = None
    given: Mapping[str, Path] = field(default_factory=dict)

    @contextmanager
    def at_hand(self) -> Iterator[dict[str, StoredFile]]:
        """For `attach_file` and `given_file` inside the context; collects what is attached, by name."""
        attached: dict[str, StoredFile] = {}
        token = _at_hand.set((self, attached))
        try:
            yield attached
        finally:
            _at_hand.reset(token)


_at_hand: ContextVar[tuple[Files, dict[str, StoredFile]] | None] = ContextVar("files at hand", default=None)


def attach_file(path: str | Path, name: str = "") -> None:
    """Keeps a file of the evaluation that calls this: it is stored, and `Evaluation.files` names it.

    Args:
        path: A file, which may be deleted afterwards.
        name: Its name in the record; the path's without.

    Raises:
        ArtifactError: Called outside of an evaluation, or there is no place, or it cannot be written.
    """
    files, attached = _inside("attach_file")
    if files.artifacts is None:
        raise ArtifactError("attach_file needs a place for files: pareto_search(..., artifacts=FOLDER)")
    name = name or Path(path).name
    attached[_plain(name)] = files.artifacts.put(Path(path), name)


def given_file(name: str) -> Path:
    """The file of this name, of those that the search hands to every evaluation.

    Raises:
        ArtifactError: Called outside of an evaluation, or the search hands out no such file.
    """
    files, _ = _inside("given_file")
    if name not in files.given:
        raise ArtifactError(f"the search was given no file '{name}'{did_you_mean(name, files.given)}")
    return files.given[name]


def _inside(function: str) -> tuple[Files, dict[str, StoredFile]]:
    found = _at_hand.get()
    if found is None:
        raise ArtifactError(f"{function} is for functions that pareto_search or a worker calls")
    return found


def _plain(name: str) -> str:
    if name != Path(name).name or name in ("", ".", ".."):
        raise ArtifactError(f"a file's name is '{name}'; it must be a name without folders")
    return name


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """By name, the SHA-256 of files to hand out.

    Raises:
        ArtifactError: One cannot be read.
    """
    try:
        return {_plain(name): sha256_of(Path(path)) for name, path in sorted(files.items())}
    except OSError as error:
        raise ArtifactError(f"cannot hand out {error.filename}: {error.strerror}") from None


def to_json(stored: Mapping[str, StoredFile]) -> list[dict[str, Any]]:
    """Plain data of stored files."""
    return [asdict(file) for file in stored.values()]


def from_json(data: Any) -> dict[str, StoredFile]:
    """Reads what `to_json` wrote, by name."""
    return {one["name"]: StoredFile(**one) for one in data}
