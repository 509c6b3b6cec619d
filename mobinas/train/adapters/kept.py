"""Decoded pictures, kept so that a second start need not decode them again; nothing depends on them."""

import contextlib
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from pydantic import TypeAdapter, ValidationError

from mobinas.errors import RunFolderError
from mobinas.files import remove_ours, sha256_of, write_atomic
from mobinas.train.preparation import Preparation

LARGEST_BYTES = 4 << 30
_FILE_BYTES = 32 << 20
_PREPARATION = "preparation.json"
_NAME, _ZIP = re.compile(r"[0-9a-f]{16}\.npz"), b"PK\x03\x04"
_SCHEMA = TypeAdapter(Preparation)
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class KeptPictures:
    """Pixels by the digest of the file they came from, for one preparation, in files of some megabytes.

    What is torn, foreign, or made by another version of the code that reads is as if it were not there, and
    is replaced. Where the disk is full, no more is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        """Keeps them in a folder, made when first needed; None keeps nothing."""
        self._folder = folder
        self._waiting: list[tuple[bytes, npt.NDArray[np.uint8]]] = []
        self._known: set[str] = set()
        self._bytes = 0

    def preparation(self, digests: Sequence[bytes], asked: str) -> Preparation | None:
        """The one that was decided for these very files and what is asked of it, if any is kept."""
        if self._folder is None:
            return None
        with contextlib.suppress(*_UNREADABLE, ValidationError, AttributeError, TypeError):
            kept = json.loads((self._folder / _PREPARATION).read_text(encoding="utf-8"))
            if kept["of"] == _digest_of_set(digests, asked):
                return _SCHEMA.validate_json(json.dumps(kept["preparation"]))
        return None

    def keep_preparation(self, digests: Sequence[bytes], asked: str, made: Preparation) -> None:
        """Keeps it for `preparation`."""
        of = _digest_of_set(digests, asked)
        data = {"of": of, "preparation": json.loads(_SCHEMA.dump_json(made))}
        self._write(_PREPARATION, (json.dumps(data) + "\n").encode())

    def fill(
        self, digests: Sequence[bytes], preparation: Preparation, images: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.bool_]:
        """Puts kept pixels into their places.

        Args:
            digests: Of the files, [n].
            preparation: By which they are read; files that were kept for another one are removed.
            images: uint8 [n, channels, height, width]; written to.

        Returns:
            Which of them are filled, [n].
        """
        filled = np.zeros(len(digests), bool)
        self._known = {path.name for path in self._folder.glob("*.npz")} if self._folder else set()
        places: dict[bytes, list[int]] = {}
        for place, digest in enumerate(digests):
            places.setdefault(digest, []).append(place)
        self._reading = _reading(preparation)
        for name in sorted(self._known):
            found = self._read(name, images.shape[1:])
            if found is None:
                self._remove(name)
                continue
            self._bytes += found[1].nbytes
            for digest, pixels in zip(found[0], found[1], strict=True):
                for place in places.get(digest.tobytes(), ()):
                    images[place], filled[place] = pixels, True
        return filled

    def keep(self, digest: bytes, pixels: npt.NDArray[np.uint8]) -> None:
        """Keeps one more; written once some megabytes are together, or with `flush`."""
        if self._folder is None or self._bytes + pixels.nbytes > LARGEST_BYTES:
            return
        self._bytes += pixels.nbytes
        self._waiting.append((digest, pixels))
        if len(self._waiting) * pixels.nbytes >= _FILE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if not self._waiting:
            return
        digests, pixels = zip(*self._waiting, strict=True)
        self._waiting = []
        packed = io.BytesIO()
        np.savez(
            packed,
            digests=np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1),
            pixels=np.stack(pixels),
            reading=np.array(self._reading),
        )
        content = packed.getvalue()
        self._write(f"{hashlib.sha256(content).hexdigest()[:16]}.npz", content)

    def _read(
        self, name: str, shape: tuple[int, ...]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
        assert self._folder is not None
        # NumPy leaves a torn file open that it is to open itself.
        with (
            contextlib.suppress(*_UNREADABLE),
            (self._folder / name).open("rb") as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            digests, pixels = file["digests"], file["pixels"]
            if (
                str(file["reading"]) == self._reading
                and (digests.dtype, pixels.dtype) == (np.uint8, np.uint8)
                and digests.ndim == 2
                and pixels.shape == (len(digests), *shape)
            ):
                return digests, pixels
        return None

    def _write(self, name: str, content: bytes) -> None:
        if self._folder is None:
            return
        try:
            write_atomic(self._folder / name, content)
        except RunFolderError:
            self._folder = None  # a full disk ends the keeping, not the run

    def _remove(self, name: str) -> None:
        assert self._folder is not None
        with contextlib.suppress(OSError):
            remove_ours(self._folder / name, _is_kept)


def _is_kept(path: Path) -> bool:
    """Whether a file, whole or torn, has a name of `KeptPictures` and begins as its files do."""
    with path.open("rb") as file:
        return _NAME.fullmatch(path.name) is not None and file.read(len(_ZIP)) == _ZIP


def digest_of(path: Path) -> bytes:
    """Of a file's content, 16 bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def _digest_of_set(digests: Sequence[bytes], asked: str) -> str:
    sha = hashlib.sha256(b"".join(sorted(digests)))
    sha.update(f"{asked} {_version()}".encode())
    return sha.hexdigest()


def _reading(preparation: Preparation) -> str:
    return hashlib.sha256(_SCHEMA.dump_json(replace(preparation, notes=())) + _version().encode()).hexdigest()


def _version() -> str:
    """Of the code that makes pixels: another one may make others."""
    code = sorted(Path(__file__).parent.glob("*.py"))
    return f"{PIL.__version__} {' '.join(map(sha256_of, code))}"
