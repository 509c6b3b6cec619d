"""What an adapter is."""

from collections.abc import Callable
from dataclasses import dataclass

from mobinas.train.images import ImageData


@dataclass(frozen=True, slots=True)
class Adapter:
    """One kind of data.

    Attributes:
        accepts: Whether a description of data is of this kind; cheap, reads no data.
        load: Makes the data from the description and, for images of various sizes, the wanted size in pixels.
        names: Fixed names that it takes, for suggestions.
    """

    accepts: Callable[[str], bool]
    load: Callable[[str, int | None], ImageData]
    names: tuple[str, ...] = ()
