"""The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; the embedded default."""

import numpy as np
import torch

from mobinas.train.adapters.base import Adapter, Wanted
from mobinas.train.images import ImageData

_BRIGHTEST = 16


def _load(_spec: str, _wanted: Wanted) -> ImageData:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / _BRIGHTEST)).astype(np.uint8)
    return ImageData(
        torch.from_numpy(pixels)[:, None],
        torch.from_numpy(bunch.target.astype(np.int64)),
        tuple(str(name) for name in bunch.target_names),
        "digits",
    )


ADAPTER = Adapter(lambda spec: spec == "digits", _load, ("digits",))
