"""What a file holds, told by its bytes: for messages, and to know a file of one's own again."""

import csv
import io
import json
import os
import re
import tomllib
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

_HEAD_BYTES, _BLANK_BYTES, _MAKER_BYTES = 1 << 16, 4096, 64
# Beyond this, a text is none that this project writes.
_TEXT_BYTES = 1 << 27
# No zip with a file in it is shorter: a local header, a central one, and the end.
_SHORTEST_ZIP = 98
_ZIP, _PNG = b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"
_MAGIC = (
    (b"SQLite format 3\0", "an SQLite database"),
    (_PNG, "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"RIFF", "a RIFF file, such as a WebP picture"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PAR1", "a Parquet table"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_PAGE = b"<!doctype html>\n<html"
_OUR_TITLE = b" - MOBINAS report</title>"
# The signature and the header; and 200 dots per inch, in dots per metre.
_PNG_START, _DENSITY = 33, (7874).to_bytes(4, "big") * 2 + b"\x01"
_FIRST_KEY = re.compile(rb'\s*[\[{]\s*"((?:[^"\\]|\\.)*)"')
_ENTRY_NAME = re.compile(rb"PK\x03\x04.{22}(..)..", re.DOTALL)
_NUMBER = re.compile(rb"-?[0-9.eE+-]+\s*")
_PICKLED_TEXT = re.compile(rb"X(.)\0\0\0", re.DOTALL)


def described(path: Path) -> str:
    """What a plain file holds, as far as one can tell, for the middle of a sentence."""
    head = _head(path)
    if not head:
        return "an empty file"
    if head.startswith(_ZIP):
        names = sorted(_entries(path))
        return (
            f"a zip archive ({', '.join(names[:2])}{', ...' * (len(names) > 2)})" if names else "a torn zip"
        )
    for magic, words in _MAGIC:
        if head.startswith(magic):
            return words
    if head[257:262] == b"ustar":
        return "a tar archive"
    text = _text_of(head)
    if text is None:
        return "UTF-16 text" if head.count(b"\0") > len(head) // 4 and len(head) > 4 else "binary data"
    return _text_kind(text)


def _text_kind(text: str) -> str:
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith('{"op_code":'):
        return "an Optuna journal"
    if start[:9].lower() == "<!doctype" or start[:5].lower() == "<html":
        return "an HTML page"
    if start.startswith("<"):
        return "XML"
    if start.startswith(("{", "[")):
        return "JSON of something else"
    return "text of something else"


def begins_like(data: bytes, start: bytes) -> bool:
    """Whether data begin so, or are cut off before the start ends."""
    return data.startswith(start) or start.startswith(data)


def is_cut_json(data: bytes) -> bool:
    """Whether this is the beginning of a JSON text that a kill cut off."""
    try:
        text = data.rstrip(b"\0").decode("utf-8-sig")
        json.loads(text)
    except UnicodeDecodeError as error:  # perhaps cut within a letter
        return error.reason == "unexpected end of data" and is_cut_json(data[: error.start])
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        return not rest or error.msg.startswith("Unterminated") or _is_cut_word(rest)
    except (ValueError, RecursionError):  # a number or a nesting beyond all limits
        pass
    return False


def _is_cut_word(rest: str) -> bool:
    return any(word.startswith(rest) for word in ("true", "false", "null", "NaN", "Infinity", "-Infinity"))


def is_blank(path: Path) -> bool:
    """Whether a file is empty, or as a crash of the machine may leave it: a few zero bytes."""
    return path.stat().st_size <= _BLANK_BYTES and not _head(path).strip(b"\0")


def alike(path: Path, new: bytes) -> bool:
    """Whether a file is an older or torn version of what is to take its place; an empty one is.

    Two files are alike when they are of one kind and of one make: JSON and TOML by their keys, tables by
    their columns, archives by their members, saved tensors by their names, pictures by the mark of this
    project.
    """
    head = _head(path)
    if is_blank(path) or new.startswith(head):
        return True
    if new.startswith(_ZIP):
        return _alike_archives(path, head, new)
    if new.startswith(_PNG):
        return is_our_picture(path)
    if _names_us(new):
        return is_our_onnx(path)
    if path.stat().st_size > _TEXT_BYTES:
        return False
    return _alike_texts(path.read_bytes(), new)


def is_our_page(path: Path) -> bool:
    """Whether an HTML file, whole or torn, is a report of this project."""
    head = _head(path)
    return _OUR_TITLE in head or (begins_like(head, _PAGE) and b"</title>" not in head)


def is_our_onnx(path: Path) -> bool:
    """Whether an ONNX file names this project as its maker, in its first field or, if whole, in its last."""
    with path.open("rb") as file:
        head = file.read(_MAKER_BYTES)
        file.seek(max(0, file.seek(0, os.SEEK_END) - _HEAD_BYTES))
        return _names_us(head) or (head[:1] == b"\x08" and b"mobinas." in file.read())


def _names_us(onnx: bytes) -> bool:
    return onnx[:1] == b"\x08" and begins_like(onnx[2:], b"\x12\x07mobinas")


def _alike_texts(old: bytes, new: bytes) -> bool:
    for read in (_json_of, _toml_of):
        wanted = read(new)
        if wanted is not None:
            found = read(old)
            if found is not None:
                nothing = read is _json_of and found[0] in ({}, [])  # a note in comments is TOML, too
                return nothing or _same_shape(found[0], wanted[0])
            return read is _json_of and _is_cut_from(old, wanted[0])
    return _majority(_columns(old), _columns(new))


def _json_of(data: bytes) -> tuple[Any] | None:
    try:
        return (json.loads(data.decode("utf-8-sig")),)
    except (ValueError, RecursionError):
        return None


def _toml_of(data: bytes) -> tuple[Any] | None:
    try:
        read = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    keys: dict[str, Any] = {}
    for key, value in read.items():
        keys |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return (keys,)


def _same_shape(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        few, many = sorted((set(old), set(new)), key=len)
        return (few <= many and len(few) > 1) or _majority(old, new)
    if isinstance(old, list) and isinstance(new, list):
        return not old or not new or _same_shape(old[0], new[0])
    return isinstance(old, int | float) == isinstance(new, int | float) and not isinstance(old, dict | list)


def _is_cut_from(old: bytes, new: Any) -> bool:
    if isinstance(new, int | float):
        return _NUMBER.fullmatch(old) is not None
    if not isinstance(new, dict | list) or old.lstrip()[:1] != (b"{" if isinstance(new, dict) else b"["):
        return False
    first = _FIRST_KEY.match(old) if is_cut_json(old) else None
    return is_cut_json(old) and (
        first is None or isinstance(new, list) or first[1].decode(errors="replace") in new
    )


def _columns(data: bytes) -> list[str]:
    text = _text_of(data[:_HEAD_BYTES])
    try:
        return [] if text is None else next(csv.reader(io.StringIO(text.lstrip("\ufeff"))), [])
    except csv.Error:
        return []


def _majority(old: Collection[str], new: Collection[str]) -> bool:
    """Whether more than half of the names are in both; of different sizes, of the larger."""
    return 2 * len(set(old) & set(new)) > max(len(old), len(new))


def is_our_picture(path: Path) -> bool:
    """Whether a PNG file, whole or torn, is marked as `mobinas.report.figures.png` does; see there."""
    head = _head(path)
    chunks = _chunks(head)
    if len(head) < _PNG_START or b"MOBINAS" in chunks.get(b"tEXt", b""):
        return begins_like(head, _PNG)
    # As drawn before pictures were marked: no notes at all, and the density of our own.
    return list(chunks) == [b"IHDR", b"pHYs"] and chunks[b"pHYs"] == _DENSITY


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """By type, what precedes a PNG's pixels."""
    found: dict[bytes, bytes] = {}
    at = len(_PNG)
    while at + 8 <= len(data) and (kind := data[at + 4 : at + 8]) != b"IDAT":
        size = int.from_bytes(data[at : at + 4], "big")
        found[kind] = data[at + 8 : at + 8 + size]
        at += size + 12
    return found


def _alike_archives(path: Path, head: bytes, new: bytes) -> bool:
    if not head.startswith(_ZIP):
        return begins_like(head, _ZIP)
    if path.stat().st_size < _SHORTEST_ZIP:
        return True
    old_names, new_names = _entries(path), _entries(io.BytesIO(new))
    if "archive/data.pkl" in old_names & new_names:
        return _majority(_pickled_texts(head), _pickled_texts(new[:_HEAD_BYTES]))
    return bool(old_names) and (old_names <= new_names or _majority(old_names, new_names))


def _entries(archive: Path | io.BytesIO) -> set[str]:
    """Names in a zip; of a torn one, the first alone, for whole zips may lie within it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            listed = opened.infolist()
            if min((one.header_offset for one in listed), default=0) == 0:
                return {one.filename for one in listed}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        pass
    head = archive.getvalue()[:_HEAD_BYTES] if isinstance(archive, io.BytesIO) else _head(archive)
    first = _ENTRY_NAME.match(head)
    size = int.from_bytes(first[1], "little") if first else 0
    return {head[first.end() : first.end() + size].decode(errors="replace")} if first else set()


def is_our_state(path: Path) -> bool:
    """Whether a file, whole or torn, was begun by `mobinas.train.checkpoint.save_state`; an empty one is."""
    head = _head(path)
    if len(head) < _SHORTEST_ZIP:
        return begins_like(head, _ZIP)
    # Its pickle comes first, and in it the identity.
    texts = _pickled_texts(head[:4096])
    return "archive/data.pkl" in _entries(path) and texts[:1] in ([], ["identity"])


def _pickled_texts(data: bytes) -> list[str]:
    found = [data[m.end() : m.end() + m[1][0]] for m in _PICKLED_TEXT.finditer(data)]
    return [text.decode(errors="replace") for text in found]


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _text_of(head: bytes) -> str | None:
    """Text, whose last letter may be cut off; None of what is no UTF-8 text."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        text = head[: error.start].decode()
    return None if "\0" in text else text
