"""What an adapter is."""

from collections.abc import Callable
from dataclasses import dataclass

from mobinas.train.images import ImageData


@dataclass(frozen=True, slots=True)
class Adapter:
    """One kind of data.

    Attributes:
        accepts: Whether a description of data is of this kind; cheap, reads no data.
        load: Makes the data from the description, the wanted size in pixels (None: their own) and the
            background
            of transparent images.
        names: Fixed names that it takes, for suggestions.
    """

    accepts: Callable[[str], bool]
    load: Callable[[str, int | None, str], ImageData]
    names: tuple[str, ...] = ()
