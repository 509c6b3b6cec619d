"""Your own images as arrays: mobinas run --data examples/own_data.py:blobs --set train.minutes=1."""

import numpy as np


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Makes 600 grey images of 16 x 16 pixels: a bright spot in one of three places.

    Returns:
        images, uint8 [n, height, width], and labels, int [n].
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    images = rng.integers(0, 100, (600, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 1 + rng.integers(0, 12), 5 * label + rng.integers(0, 3)
        image[row : row + 3, column : column + 3] = 255
    return images, labels
