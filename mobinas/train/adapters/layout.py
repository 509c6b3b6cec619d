"""Which folders of a data folder are classes, and which are parts of a split that its makers made."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from mobinas.errors import DataError, did_you_mean
from mobinas.toml_text import toml_value
from mobinas.train.adapters.part_names import ROLES, Role, is_neutral, role_of
from mobinas.train.adapters.split_lists import is_label_file, lists_among, split_by_lists
from mobinas.train.adapters.tree import Folder, Skipped, class_folders, first_of, unwrapped

_SOME = 3
Files = dict[str, list[Path]]


@dataclass(frozen=True, slots=True)
class PartFolders:
    """Folders of the parts, by their path below the data folder; None lets names decide, () is for "none".

    Attributes:
        train: What is split into training and selection.
        val: The data's own selection part.
        test: The data's own test part.
        ignore: What is left out.
    """

    train: tuple[str, ...] | None = None
    val: tuple[str, ...] | None = None
    test: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether anything is said."""
        return any(getattr(self, f.name) is not None for f in fields(self))


@dataclass(frozen=True, slots=True)
class Layout:
    """Pictures by part and class.

    Attributes:
        train: Class names, sorted, with their pictures; a class may have none.
        val: Likewise; empty where there is no such part.
        test: Likewise.
        notes: Folders that are used in a way that should be known, or not at all.
    """

    train: Files
    val: Files = field(default_factory=dict)
    test: Files = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_layout(root: Folder, asked: PartFolders, skipped: Skipped) -> Layout:
    """Understands the folders, or stops and says how to say what is meant.

    Args:
        root: The data folder.
        asked: What the user says of it.
        skipped: Told of pictures that no class holds.

    Raises:
        DataError: No classes, a folder that is asked for but missing, or an arrangement with two readings.
    """
    return _Finder(root, asked, skipped).find()


class _Finder:
    def __init__(self, root: Folder, asked: PartFolders, skipped: Skipped) -> None:
        self.root, self.asked, self.skipped = root, asked, skipped
        self.notes: list[str] = []
        self.given = {role: self._asked_folders(role) for role in ROLES}
        self.parts: dict[Role, list[Folder]] = {role: list(self.given[role]) for role in ROLES}
        self.others: list[Folder] = []
        self.told: set[Path] = set()

    def find(self) -> Layout:
        top = self._top()
        if top is not self.root and not self.asked.is_asked:
            self.notes.append(f"read from {self._name(top)}/ within {self.root.path}")
        self._sort_out(top)
        with_classes = any(class_folders(part) for part in self.parts["train"])
        layout = self._split_layout(top) if with_classes else self._class_layout(top)
        self._account_for_the_rest(layout)
        return layout

    def _asked_folders(self, role: Role) -> list[Folder]:
        found = []
        for name in getattr(self.asked, role) or ():
            folder = self.root.find(name)
            if folder is None:
                known = [self._name(f) for f in self.root.below(2)]
                raise DataError(
                    f"images.{role} = '{name}': no such folder in {self.root.path}{_near(name, known)}"
                )
            if not folder.holds_pictures and role != "ignore":
                raise DataError(
                    f"images.{role} = '{name}': this folder of {self.root.path} holds no pictures"
                )
            found.append(folder)
        return found

    def _top(self) -> Folder:
        """The folder within which the choice begins: beside what is asked for, or within wrappers."""
        if self.given["train"]:
            above = self.given["train"][0].path.parent.relative_to(self.root.path)
            return self.root.find(str(above)) or self.root
        return unwrapped(self.root, [f for folders in self.given.values() for f in folders])

    def _sort_out(self, top: Folder) -> None:
        """Each folder of the top level belongs to a part or to the others."""
        given = [folder for folders in self.given.values() for folder in folders]
        free = [f for f in top.folders if not any(f.path in (g.path, *g.path.parents) for g in given)]
        by_rest: dict[str, dict[Role, list[Folder]]] = {}
        for folder in free:
            role, rest = self._role(folder)
            if role is not None and folder.holds_pictures:
                by_rest.setdefault(rest, {}).setdefault(role, []).append(folder)
        # "asl_train" beside "asl_test" are parts; "crash_test" alone is the name of a class, and several
        # families, as in "cat_train" and "dog_train", are classes whose names tell parts.
        families = {rest: roles for rest, roles in by_rest.items() if not rest or len(roles) > 1}
        if "" not in families and len(families) > 1:
            families = {}
        for roles in families.values():
            for role, folders in roles.items():
                self.parts[role] += folders
        in_parts = [f for folders in self.parts.values() for f in folders]
        self.others = [f for f in free if f not in in_parts]
        self._tell_eval_from_test()

    def _role(self, folder: Folder) -> tuple[Role | None, str]:
        role, rest = role_of(folder.name)
        return (None, folder.name) if role and getattr(self.asked, role) == () else (role, rest)

    def _tell_eval_from_test(self) -> None:
        """Beside a test folder, an eval folder is what is selected by."""
        evaluations = [
            f for f in self.parts["test"] if "eval" in f.name.lower() and f not in self.given["test"]
        ]
        if not self.parts["val"] and 0 < len(evaluations) < len(self.parts["test"]):
            self.parts["val"] = evaluations
            self.parts["test"] = [f for f in self.parts["test"] if f not in evaluations]

    # train/ and test/

    def _split_layout(self, top: Folder) -> Layout:
        train, val, test = (self._classes_of(role) for role in ROLES[:3])
        beside = sorted(f.name for f in self.others if f.name in train and f.holds_pictures)
        if beside and not self.given["train"]:
            first = self._name(self.parts["train"][0])
            raise DataError(
                f"{top.path} holds {first}/ and beside it folders of the same classes ({first_of(beside)}): "
                f'say which are meant, images.train = "{first}", or images.ignore = "{first}" for the others'
            )
        return self._layout(train, val, test)

    def _layout(self, train: Files, val: Files, test: Files) -> Layout:
        self._check_known(train, {"val": val, "test": test})
        for role, files, use in (("val", val, "selection"), ("test", test, "test")):
            if files and self.parts[role]:
                names = " and ".join(f"{self._name(f)}/" for f in self.parts[role])
                self.notes.append(f"{names}: the {use} part")
        return Layout(train, val, test, tuple(self.notes))

    def _classes_of(self, role: Role) -> Files:
        """Class names and pictures of a part; a part without class folders is unlabelled, and not used."""
        classes: Files = {}
        labelled = [part for part in self.parts[role] if class_folders(part)]
        self._check_no_copies(role, labelled)
        self._check_no_parts_within(labelled)
        for part in labelled:
            for folder in unwrapped(part).folders if role == "train" else class_folders(part):
                classes.setdefault(folder.name, []).extend(folder.all_pictures())
        for part in self.parts[role]:
            if part not in labelled:
                self._say_unlabelled(part)
        return dict(sorted(classes.items()))

    def _check_no_parts_within(self, parts: list[Folder]) -> None:
        """A folder "val" among the classes of "train" is hardly a class."""
        for part in parts:
            classes = class_folders(part)
            for folder in classes:
                role, rest = self._role(folder)
                if role is not None and not rest and len(classes) > 1:
                    others = [f for f in classes if f is not folder]
                    raise DataError(self._beside_classes(folder, role, others))

    def _say_unlabelled(self, part: Folder) -> None:
        pictures = part.all_pictures()
        beside = [name for name in self.root.others if name.lower().startswith(part.name.lower())]
        labels = [name for name in (*part.others, *beside) if is_label_file(name)]
        not_read = f" and {labels[0]} is not read" if labels else ""
        self.notes.append(
            f"{self._name(part)}/ is not used: its {len(pictures)} pictures lie in no class folders{not_read}"
        )
        self.told.update(pictures)

    def _check_no_copies(self, role: Role, parts: list[Folder]) -> None:
        """Several folders for one part may be copies of each other; test1 and test2 are not."""
        if self.given[role] or len({f.name.rstrip("0123456789_- ").lower() for f in parts}) < 2:
            return
        names = [self._name(f) for f in parts]
        raise DataError(
            f"{' and '.join(names)} of {self.root.path} all speak of one part: say which is meant, "
            f'images.{role} = "{names[0]}", or all of them, images.{role} = {_toml(names)}'
        )

    def _check_known(self, train: Files, parts: Mapping[str, Files]) -> None:
        for role, files in parts.items():
            unknown = sorted(files.keys() - train.keys())
            if unknown:
                n = sum(len(files[name]) for name in unknown)
                leave = f', or leave the part out: images.ignore = "{self._name(self.parts[role][0])}"'
                raise DataError(
                    f"the {role} part of {self.root.path} holds classes that the training images lack "
                    f"({first_of(unknown)}; {n} pictures; training has {first_of(list(train))}); add "
                    f"training images, rename or remove these folders{leave if self.parts[role] else ''}"
                )

    # Classes at the top

    def _class_layout(self, top: Folder) -> Layout:
        holding = [f for f in self.others if f.holds_pictures]
        if holding and not any(self.parts.values()):
            by_class = self._parts_within_classes(holding) or self._parts_in_names(holding)
            if by_class is not None:
                return by_class
        if not holding or self.given["train"]:
            raise DataError(self._no_classes(top))
        names = {f.name for f in holding}
        for role in ROLES:
            unclear = [f for f in self.parts[role] if f not in self.given[role]]
            if role in ("val", "test"):
                unclear = [f for f in unclear if not {c.name for c in class_folders(f)} & names]
            if unclear:
                raise DataError(self._beside_classes(unclear[0], role, holding))
        self._check_same_within(holding)
        train = dict(sorted((f.name, f.all_pictures()) for f in self.others))
        if not any(self.parts.values()):
            return self._listed(train)
        return self._layout(train, self._classes_of("val"), self._classes_of("test"))

    def _listed(self, classes: Files) -> Layout:
        """Parts may be listed in files; what looks like a list and is none is named."""
        files = [f.path / name for f in (self.root, *self.root.below(2)) for name in f.others]
        lists = {role: paths for role, paths in lists_among(files).items() if getattr(self.asked, role) != ()}
        parts = split_by_lists(classes, lists)
        names = [str(path.relative_to(self.root.path)) for paths in lists.values() for path in paths]
        if parts is None:
            if names:
                self.notes.append(
                    f"{first_of(names)}: not read as a split, as its lines name no pictures here"
                )
            return Layout(classes, notes=tuple(self.notes))
        self.notes.append(f"split as listed in {first_of(names)}: val is to select by, test to test")
        train = {name: parts["train"].get(name, []) for name in classes}
        return Layout(train, parts.get("val", {}), parts.get("test", {}), tuple(self.notes))

    def _beside_classes(self, part: Folder, role: Role, classes: list[Folder]) -> str:
        name = self._name(part)
        meant = {"ignore": "it is left out", "train": "it is to be trained with, and needs class folders"}
        flat = "it is that part, and left out, as it has no class folders"
        means = meant.get(role, "it is that part" if class_folders(part) else flat)
        return (
            f"{self.root.path} holds {name}/ ({len(part.all_pictures())} pictures) beside the class folders "
            f"{first_of([f.name for f in classes])}, and it is named like a part of a split: say what is "
            f'meant, images.{role} = "{name}" ({means}) or images.{role} = "none" (it is a class); on the '
            f"command line --set images.{role}={name}"
        )

    def _parts_within_classes(self, classes: list[Folder]) -> Layout | None:
        """cat/train, cat/test, dog/train, dog/test."""
        within = {folder: [s for s in folder.folders if s.holds_pictures] for folder in classes}
        named = [s for inner in within.values() for s in inner if self._role(s)[0] and not self._role(s)[1]]
        parted = sum(any(sub in named for sub in inner) for inner in within.values())
        if 2 * parted < len(classes):
            odd = [f"{self._name(folder)}/" for folder in named]
            if odd:
                self.notes.append(f"{first_of(odd)}: named like a part of a split, but read like any other")
            return None
        found: dict[Role, Files] = {role: {} for role in ROLES}
        for folder, inner in within.items():
            if not inner or is_neutral(folder.name):
                why = "no name of a class" if inner else "without such folders"
                raise DataError(self._mixed(named, f"{self._name(folder)}/ is {why}"))
            for sub in inner:
                role, rest = self._role(sub)
                if class_folders(sub):
                    raise DataError(self._mixed(named, f"{self._name(sub)}/ holds class folders itself"))
                if role is None or rest:
                    raise DataError(self._mixed(named, f"{self._name(sub)}/ is not"))
                found[role].setdefault(folder.name, []).extend(sub.all_pictures())
        return self._flipped(found)

    def _parts_in_names(self, classes: list[Folder]) -> Layout | None:
        """cat_train, cat_test, dog_train, dog_test."""
        found: dict[Role, Files] = {role: {} for role in ROLES}
        for folder in classes:
            role, rest = self._role(folder)
            if role is None or not rest or class_folders(folder):
                return None
            found[role].setdefault(rest, []).extend(folder.all_pictures())
        return self._flipped(found) if len(found["train"]) > 1 and (found["test"] or found["val"]) else None

    def _flipped(self, found: Mapping[Role, Files]) -> Layout:
        train, val, test = (dict(sorted(found[role].items())) for role in ROLES[:3])
        if not train:
            raise DataError(
                f"the classes of {self.root.path} ({first_of(sorted({*val, *test}))}) hold folders to test "
                "or validate but none to train with; add train/ to each"
            )
        parts = {"val": "the selection part", "test": "the test part"}
        told = [f"{role} ({parts[role]})" for role in parts if found[role]]
        self.notes.append(f"each class has folders of its own for {' and '.join(['train', *told])}")
        return self._layout(train, val, test)

    def _mixed(self, named: list[Folder], why: str) -> str:
        """`named` are folders within classes that are named like parts, `why` says what does not fit."""
        first = next((f for f in named if self._role(f)[0] == "train"), named[0])
        roles = dict.fromkeys(role for role in ROLES if any(self._role(f)[0] == role for f in named))
        none = ", ".join(f'images.{role} = "none"' for role in roles)
        name = f'name the folder to train with, as in images.train = "{self._name(first)}", or '
        use = name if "train" in roles else ""
        return (
            f"{self._name(first)}/ of {self.root.path} is named like a part of a split, but {why}: {use}say "
            f"{none} (the outermost folders are the classes)"
        )

    def _check_same_within(self, classes: list[Folder]) -> None:
        """Several folders with the same folders within are sets of classes rather than classes."""
        within = [{f.name for f in c.folders if f.holds_pictures} for c in classes]
        times = Counter(name for names in within for name in names)
        often = {name for name, count in times.items() if 2 * count > len(within)}
        same = len(often) > 1 and all(names and 2 * len(names & often) >= len(names) for names in within)
        if self.asked.train == () or not same or any(c.pictures for c in classes):
            return
        names = [self._name(c) for c in classes]
        raise DataError(
            f"{first_of(names)} of {self.root.path} each hold the folders {first_of(sorted(often))}: say "
            f"which are the classes, images.train = {_toml(names[:_SOME])} (the inner ones; list what is to "
            'be trained with) or images.train = "none" (the outer ones)'
        )

    # What is left, and how it is said

    def _account_for_the_rest(self, layout: Layout) -> None:
        used = {
            p for files in (layout.train, layout.val, layout.test) for paths in files.values() for p in paths
        }
        left_out = {p for folder in self.given["ignore"] for p in folder.all_pictures()}
        for path in self.root.all_pictures():
            if path in left_out:
                self.skipped.add("pictures left out by images.ignore", path, named=self._parent(path))
            elif path not in used and path not in self.told:
                self.skipped.add("pictures that no class or part holds", path, named=self._parent(path))

    def _name(self, folder: Folder) -> str:
        return str(folder.path.relative_to(self.root.path))

    def _parent(self, path: Path) -> str:
        parent = path.parent.relative_to(self.root.path)
        return f"{parent}/" if parent.parts else path.name

    def _no_classes(self, top: Folder) -> str:
        parts = [f for role in ROLES for f in self.parts[role] if f not in self.given["ignore"]]
        names = " and ".join(f"{self._name(f)}/" for f in parts)
        if any(class_folders(f) for f in parts):
            return (
                f"{self.root.path} holds {names} but nothing to train with; name the training folder, as in "
                f'images.train = "{self._name(parts[0])}"'
            )
        n = len(top.all_pictures())
        where = f"{names} of {self.root.path}" if parts else str(top.path)
        files = [name for f in (self.root, *self.root.below(2)) for name in f.others if is_label_file(name)]
        labels = f" ({first_of(files)} is not read; a function may: --data my_data.py:load)" if files else ""
        return (
            f"{where} holds no class folders{f' but {n} pictures' if n else ''}; put the images of each "
            f"class into a folder of its own{labels}"
        )


def _near(name: str, known: list[str]) -> str:
    same = next((k for k in known if k.lower() == name.lower()), None)
    return f"; did you mean '{same}'?" if same else did_you_mean(name, known)


def _toml(names: list[str]) -> str:
    return f"[{', '.join(toml_value(name) for name in names)}]"
