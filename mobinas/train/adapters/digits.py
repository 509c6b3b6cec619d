"""The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; the embedded default."""

from mobinas.train.adapters.arrays import Arrays, image_data
from mobinas.train.adapters.base import Adapter, Wanted
from mobinas.train.images import ImageData


def _load(_spec: str, wanted: Wanted) -> ImageData:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Whole numbers from 0 to 16, as floats.
    source = Arrays.of(bunch.images, bunch.target, "digits")
    names = [str(name) for name in bunch.target_names]
    return image_data(
        source, "digits", classes=names, image_size=wanted.image_size, background=wanted.background
    )


ADAPTER = Adapter(lambda spec: spec == "digits", _load, ("digits",))
