"""The IDX files of MNIST and its kin, as Debian's dataset-fashion-mnist installs them."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.errors import DataError
from mobinas.train.adapters.arrays import Arrays, image_data
from mobinas.train.adapters.base import Adapter
from mobinas.train.images import ImageData

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_UNSIGNED_BYTES = 8


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Reads an array of bytes from an IDX file, gzipped or not.

    The format is two zero bytes, the type, the number of axes, each length as a big-endian 32-bit integer,
    then the values.

    Raises:
        DataError: A missing, torn or other file.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
        if len(content) < 4:
            raise ValueError(f"only {len(content)} bytes")
        zero, kind, axes = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{axes}I", content, 4)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is not a readable IDX file ({error}); install the data set again") from None
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes)
    expected = int(np.prod(shape, dtype=np.int64))
    if zero or kind != _UNSIGNED_BYTES or not axes or len(values) != expected:
        raise DataError(
            f"{path} holds {len(values)} values for an array of {list(shape)} and type {kind}; it must be an "
            f"IDX file of unsigned bytes (type {_UNSIGNED_BYTES}); install the data set again"
        )
    return values.reshape(shape).copy()


def load_folder(
    folder: Path, name: str, classes: tuple[str, ...], image_size: int | None = None
) -> ImageData:
    """Loads the four files of an MNIST-like data set.

    Raises:
        DataError: A missing or torn file.
    """
    arrays: dict[str, Any] = {
        f"{part}-{what}": read_idx(folder / f"{part}-{what}-ubyte.gz")
        for part in ("train", "t10k")
        for what in ("images-idx3", "labels-idx1")
    }
    return image_data(
        Arrays.of(arrays["train-images-idx3"], arrays["train-labels-idx1"], name),
        name,
        test=Arrays.of(arrays["t10k-images-idx3"], arrays["t10k-labels-idx1"], f"the test part of {name}"),
        classes=classes,
        image_size=image_size,
    )


ADAPTER = Adapter(
    lambda spec: spec == "fashion_mnist" and (FASHION_MNIST / "train-images-idx3-ubyte.gz").exists(),
    lambda _spec, wanted: load_folder(FASHION_MNIST, "fashion_mnist", FASHION_CLASSES, wanted.image_size),
)
