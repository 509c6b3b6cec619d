"""Small sets of pictures of every kind, as class folders; the classes are bars across and bars down."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 16


def bars(down: bool, i: int, low: int = 40, high: int = 220) -> np.ndarray:
    """One picture in 0..255, int64 [16, 16]: noise below `low` and a bar of `high`."""
    rng = np.random.default_rng(1000 * down + i)
    values = rng.integers(0, max(low, 1), (SIDE, SIDE)).astype(np.int64)
    k = int(rng.integers(1, SIDE - 4))
    values[(slice(None), slice(k, k + 3)) if down else (slice(k, k + 3), slice(None))] = high
    return values


def fill(
    folder: Path, make: Callable[[np.ndarray, int], Image.Image], suffix: str = "png", n: int = 8, **bar: int
) -> Path:
    """Writes `n` pictures of each class; `make` may attach options of `save` as ``info["save"]``."""
    for down in (False, True):
        directory = folder / ("down" if down else "across")
        directory.mkdir(parents=True)
        for i in range(n):
            image = make(bars(down, i, **bar), i)
            image.save(directory / f"{i}.{suffix}", **image.info.pop("save", {}))
    return folder


def png(values: np.ndarray, colour_type: int, transparent: bytes = b"") -> bytes:
    """A PNG file of 16 bits per channel, which Pillow cannot write.

    Args:
        values: [height, width, channels], in 0..65535.
        colour_type: Of the format: 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA.
        transparent: Content of its tRNS chunk.
    """
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
        if content or kind != b"tRNS"
    )


def tiff(values: np.ndarray, order: str = "<", sample_format: int = 1, extra: int | None = None) -> bytes:
    """An uncompressed TIFF file of any type of numbers.

    Args:
        values: [height, width, channels], of the type to store.
        order: ``<`` or ``>``.
        sample_format: 1 unsigned, 2 signed, 3 floats.
        extra: Meaning of the last channel: 1 premultiplied alpha, 2 alpha.
    """
    height, width, channels = values.shape
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    shorts: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [8 * values.dtype.itemsize] * channels,
        259: [1],
        262: [2 if channels > 2 else 1],
        277: [channels],
        278: [height],
        284: [1],
        **({} if extra is None else {338: [extra]}),
        339: [sample_format] * channels,
    }
    entries, after = [], b""
    place = 8 + 2 + 12 * (len(shorts) + 2) + 4
    for tag, content in shorts.items():
        packed = struct.pack(f"{order}{len(content)}H", *content)
        if len(packed) > 4:
            value, after = struct.pack(f"{order}I", place + len(after)), after + packed
        else:
            value = packed.ljust(4, b"\0")
        entries.append((tag, struct.pack(f"{order}HHI", tag, 3, len(content)) + value))
    for tag, number in ((273, place + len(after)), (279, len(data))):
        entries.append((tag, struct.pack(f"{order}HHII", tag, 4, 1, number)))
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = b"".join(entry for _, entry in sorted(entries))
    return (
        start
        + struct.pack(f"{order}IH", 8, len(entries))
        + directory
        + struct.pack(f"{order}I", 0)
        + after
        + data
    )


def fill_bytes(folder: Path, make: Callable[[np.ndarray], bytes], suffix: str, **bar: int) -> Path:
    """As `fill`, from the content of files."""
    for down in (False, True):
        directory = folder / ("down" if down else "across")
        directory.mkdir(parents=True)
        for i in range(8):
            (directory / f"{i}.{suffix}").write_bytes(make(bars(down, i, **bar)))
    return folder


def grey16(values: np.ndarray) -> Image.Image:
    """A picture of mode I;16."""
    return Image.fromarray(values.astype(np.uint16))


def cut_out(values: np.ndarray, colour: Any) -> Image.Image:
    """RGBA of one colour, whose picture is in alpha."""
    pixels = np.zeros((*values.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, values
    return Image.fromarray(pixels)
