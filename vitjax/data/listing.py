"""The search for images in a folder: every folder is entered once, only files are taken, the rest is counted."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from vitjax.errors import ImageError

FORMATS = frozenset({"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"})
"""Pillow's names of the formats whose files are listed, as far as the installed Pillow reads them."""

_KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    files: in natural order of their paths (2.jpg before 10.jpg).
    skipped: how many entries were passed over, by reason: ".heic" is a suffix, others are words such as
        "hidden folder".
    """

    files: tuple[Path, ...]
    skipped: Mapping[str, int]


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of image files, in lower case."""
    Image.init()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image, in any case."""
    return Path(name).suffix.lower() in suffixes()


def list_images(folder: Path, *, without: Sequence[Path] = ()) -> Listing:
    """All images below a folder.

    Hidden entries, FIFOs, sockets, devices, and folders with the suffix of an image are passed over and never opened.
    Links are followed, but nothing is listed twice: of several paths to one file or folder the one without a link
    counts, and of several of these the first.

    Args:
        folder: the folder.
        without: files and folders below it that are left out and not counted, such as the folder of the masks.

    Raises:
        ImageError: the folder does not exist, a folder below it cannot be read, or a link to an image leads nowhere.

    Cost: one directory walk, with one `stat` for each entry.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: {'is not a folder' if os.path.lexists(folder) else 'no such folder'}")
    walk = _Walk({_identity(_stat(path), path) for path in without if path.exists()})
    walk.enter(folder, _stat(folder))
    while walk.links:
        walk.follow(walk.links.pop(0))
    if walk.broken:
        first = ", ".join(str(path) for path in natural_order(walk.broken)[:5])
        raise ImageError(f"links to {len(walk.broken)} images lead nowhere: {first}")
    return Listing(tuple(natural_order(walk.files)), dict(sorted(walk.skipped.items())))


_Identity = tuple[int, int] | str


@dataclass
class _Walk:
    """State of one search. Links wait until everything is listed that can be reached without one."""

    without: set[_Identity]
    seen: set[_Identity] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    broken: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)

    def enter(self, folder: Path, status: os.stat_result) -> None:
        """List a folder and all folders below it. No recursion, so any depth will do."""
        self.seen.add(_identity(status, folder))
        waiting = [folder]
        while waiting:
            parent = waiting.pop()
            try:
                with os.scandir(parent) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                raise ImageError(f"{parent}: folder cannot be read: {error.strerror or error}") from error
            below = []
            for entry in entries:
                path = parent / entry.name
                if entry.is_symlink() and not entry.name.startswith("."):
                    self.links.append(path)
                elif self._take(path, _stat(entry)):
                    below.append(path)
            waiting += reversed(below)

    def follow(self, link: Path) -> None:
        """List what a link leads to."""
        try:
            status = link.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise ImageError(f"{link}: cannot be read: {error.strerror or error}") from error
            if is_image_name(link.name):
                self.broken.append(link)
            else:
                self.skipped["broken link"] += 1
            return
        if self._take(link, status):
            self.enter(link, status)

    def _take(self, path: Path, status: os.stat_result) -> bool:
        """List a file, or count what is passed over. Returns whether the path is a folder to enter."""
        identity, kind = _identity(status, path), stat.S_IFMT(status.st_mode)
        if identity in self.without:
            return False
        is_folder = kind == stat.S_IFDIR
        if path.name.startswith("."):
            # macOS writes a metadata file "._x.jpg" next to every x.jpg on other file systems.
            if is_folder or is_image_name(path.name):
                self.skipped["hidden folder" if is_folder else "hidden image"] += 1
        elif is_folder and is_image_name(path.name):
            self.skipped["folder with the suffix of an image"] += 1
        elif not is_folder and kind != stat.S_IFREG:
            self.skipped[_KINDS.get(kind, "special file")] += 1
        elif not is_folder and not is_image_name(path.name):
            self.skipped[path.suffix.lower() or "no suffix"] += 1
        elif identity in self.seen:
            self.skipped[f"repeated {'folder' if is_folder else 'image'}"] += 1
        else:
            self.seen.add(identity)
            if not is_folder:
                self.files.append(path)
            return is_folder
        return False


def _stat(entry: os.DirEntry[str] | Path) -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=not entry.name.startswith("."))
    except OSError as error:
        raise ImageError(f"{os.fspath(entry)}: cannot be read: {error.strerror or error}") from error


def _identity(status: os.stat_result, path: Path) -> _Identity:
    """What all paths to one file have in common; the real path where the file system has no inode numbers."""
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def describe(skipped: Mapping[str, int]) -> str:
    """Counts of what was passed over, as in "2 .heic, 1 FIFO"; of many reasons the most frequent."""
    reasons = sorted(skipped, key=lambda reason: (-skipped[reason], reason))
    shown, others = reasons[:12], sum(skipped[reason] for reason in reasons[12:])
    return ", ".join(f"{skipped[reason]} {reason}" for reason in shown) + (f", {others} others" if others else "")


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths in sorted order, where runs of digits compare as numbers."""
    return sorted(paths, key=lambda path: ([_sort_key(part) for part in path.parts], str(path)))


def _sort_key(part: str) -> list[tuple[int, int, str]]:
    return [(0, int(run), "") if run.isdecimal() else (1, 0, run) for run in re.split(r"(\d+)", part) if run]
