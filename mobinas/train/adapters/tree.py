"""What lies in a data folder: folders, pictures, and what is passed over, with the reason."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from mobinas.errors import DataError
from mobinas.train.adapters.part_names import is_neutral, role_of

PICTURE_ENDINGS = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".webp", ".avif", ".jp2", ".tif", ".tiff"),
        *(".bmp", ".dib", ".pgm", ".ppm", ".pbm", ".pnm"),
    )
)
# What else is a picture is told by its first bytes; Pillow's other formats accept text and sounds, too.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "MPO")
_JUNK_FOLDERS = frozenset(
    (
        "__macosx",
        "__pycache__",
        "thumbnails",
        "@eadir",
        "$recycle.bin",
        "lost+found",
        "system volume information",
    )
)
_RUN_FOLDER_FILES = frozenset(("job.toml", ".lock"))
_SHOWN = 4


@dataclass(slots=True, eq=False)
class Folder:
    """A folder that may hold pictures.

    Attributes:
        path: Where it is.
        folders: Within it, in the order of their names.
        pictures: Directly in it, likewise.
        others: Names of other files directly in it.
    """

    path: Path
    folders: list["Folder"] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.name

    def all_pictures(self) -> list[Path]:
        """Those of folders within it, too, in the order of their paths."""
        return sorted(self._pictures())

    def _pictures(self) -> Iterator[Path]:
        yield from self.pictures
        for folder in self.folders:
            yield from folder._pictures()

    @property
    def holds_pictures(self) -> bool:
        """Whether there is one in it, or in a folder within it."""
        return next(self._pictures(), None) is not None

    def find(self, name: str) -> "Folder | None":
        """The folder at this path below it."""
        here: Folder | None = self
        for part in Path(name).parts:
            here = next((f for f in here.folders if f.name == part), None) if here else None
        return here

    def below(self, levels: int) -> Iterator["Folder"]:
        """The folders within it, and those within them, down to so many levels."""
        for inner in self.folders if levels else ():
            yield inner
            yield from inner.below(levels - 1)


def unwrapped(folder: Folder, ignored: Sequence[Folder] = ()) -> Folder:
    """The folder within which a choice begins: archives wrap one or two around it."""
    while True:
        holding = [f for f in folder.folders if f.holds_pictures and f not in ignored]
        if len(holding) != 1:
            return folder
        only = holding[0]
        says_nothing = is_neutral(only.name) or role_of(only.name)[0] is not None
        if not any(f.holds_pictures for f in only.folders) and (folder.pictures or not says_nothing):
            return folder
        folder = only


def class_folders(part: Folder) -> list[Folder]:
    """What may be the classes of a part: folders with pictures; none where it is flat."""
    return [f for f in unwrapped(part).folders if f.holds_pictures]


@dataclass(slots=True)
class Skipped:
    """What is passed over.

    Attributes:
        root: The data folder.
        counts: How often for each reason.
        names: Which, for each reason, each once.
        unreadable: Folders that are missed, as they cannot be read, each with the reason.
    """

    root: Path
    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def add(self, reason: str, path: Path, *, named: str | None = None) -> None:
        """Counts one; shown is its path below the data folder, or `named`."""
        self.counts[reason] += 1
        names = self.names.setdefault(reason, [])
        name = named or str(path.relative_to(self.root))
        if name not in names:
            names.append(name)

    def lines(self) -> tuple[str, ...]:
        """One for each reason."""
        return tuple(f"{n} {reason} ({first_of(self.names[reason])})" for reason, n in self.counts.items())


def first_of(names: list[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def scan(root: Path) -> tuple[Folder, Skipped]:
    """Walks through a data folder; links are followed, those that lead back into themselves are not.

    Raises:
        DataError: The folder itself cannot be read.
    """
    skipped = Skipped(root)
    try:
        if _is_run_folder(root):
            raise DataError(f"{root} is a run folder of this program; name the folder of the pictures")
        return _scan(root, skipped, frozenset()), skipped
    except OSError as error:
        raise DataError(f"cannot read the data folder {root} ({error.strerror}); check the path") from None


def _is_run_folder(path: Path) -> bool:
    """Whether these are results of this program, whose plots are no data."""
    return all((path / name).exists() for name in _RUN_FOLDER_FILES)


def _scan(path: Path, skipped: Skipped, above: frozenset[tuple[int, int]]) -> Folder:
    status = path.stat()
    within = above | {(status.st_dev, status.st_ino)}
    folder = Folder(path)
    for entry in _entries(path):
        if _is_folder(entry):
            found = _scan_below(entry, skipped, within)
            if found is not None:
                folder.folders.append(found)
        elif entry.is_symlink() and not Path(entry.path).exists():
            skipped.add("broken links", Path(entry.path))
        elif entry.name.startswith("."):
            skipped.add("hidden files", Path(entry.path), named=_kind_of_hidden(entry.name))
        elif entry.is_file() and _is_picture(Path(entry.path)):
            folder.pictures.append(Path(entry.path))
        else:
            folder.others.append(entry.name)
            skipped.add("other files", Path(entry.path), named=Path(entry.name).suffix or entry.name)
    return folder


def _scan_below(
    entry: "os.DirEntry[str]", skipped: Skipped, within: frozenset[tuple[int, int]]
) -> Folder | None:
    path = Path(entry.path)
    if entry.name.startswith("."):
        n = _pictures_in(path)
        reason = "hidden folders with pictures, rename them to use them" if n else "hidden folders"
        name = str(path.relative_to(skipped.root))
        skipped.add(reason, path, named=f"{name}: {n} pictures" if n else name)
    elif entry.name.lower() in _JUNK_FOLDERS:
        skipped.add("folders of thumbnails or system files", path)
    else:
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in within:
                skipped.add("links to a folder above", path)
            elif _is_run_folder(path):
                skipped.add("run folders", path)
            else:
                found = _scan(path, skipped, within)
                # "runs" as the program makes it beside the classes is no class without pictures.
                return None if _holds_runs_alone(found) else found
        except OSError as error:
            skipped.unreadable.append(f"{path.relative_to(skipped.root)}/ ({error.strerror})")
    return None


def _entries(path: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _holds_runs_alone(folder: Folder) -> bool:
    return not (folder.pictures or folder.folders or folder.others) and any(
        _is_run_folder(Path(entry.path)) for entry in _entries(folder.path)
    )


def _pictures_in(hidden: Path) -> int:
    """How many pictures lie directly in a folder that is not read; a notebook's copies count as none."""
    if hidden.name == ".ipynb_checkpoints":
        return 0
    try:
        return sum(Path(entry.name).suffix.lower() in PICTURE_ENDINGS for entry in _entries(hidden))
    except OSError:
        return 0


def _kind_of_hidden(name: str) -> str:
    return "._*" if name.startswith("._") else name


def _is_picture(path: Path) -> bool:
    """By its ending, else by its first bytes: endings such as .JFIF_1, or none, are of pictures as well."""
    if path.suffix.lower() in PICTURE_ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            beginning = file.read(16)
        # Most other files are told apart here; Pillow takes ten times as long to refuse one.
        formats = [name for name in _FORMATS if _may_be(name, beginning)]
        if not formats:
            return False
        with Image.open(path, formats=formats):
            return True
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return False


def _may_be(format_name: str, beginning: bytes) -> bool:
    if format_name not in Image.OPEN:
        return False
    accept = Image.OPEN[format_name][1]
    return accept is None or accept(beginning) is True
