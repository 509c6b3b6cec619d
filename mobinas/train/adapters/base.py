"""What an adapter is, and what is asked of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mobinas.progress import Progress, silent
from mobinas.train.adapters.layout import PartFolders
from mobinas.train.images import ImageData


@dataclass(frozen=True, slots=True)
class Wanted:
    """How data are to be read.

    Attributes:
        image_size: Height and width of the images in pixels; their own, or the median, without.
        background: Of transparent images; see `preparation_for`.
        parts: Which folders of a folder of pictures are which part.
        keep_in: Where decoded pictures are kept for a second start, if anywhere.
        progress: Told after each picture.
    """

    image_size: int | None = None
    background: str = "auto"
    parts: PartFolders = field(default_factory=PartFolders)
    keep_in: Path | None = None
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class Adapter:
    """One kind of data.

    Attributes:
        accepts: Whether a description of data is of this kind; cheap, reads no data.
        load: Makes the data from the description.
        names: Fixed names that it takes, for suggestions.
        has_folders: Whether `Wanted.parts` means anything to it.
    """

    accepts: Callable[[str], bool]
    load: Callable[[str, Wanted], ImageData]
    names: tuple[str, ...] = ()
    has_folders: bool = False
