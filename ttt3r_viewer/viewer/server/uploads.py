"""Files that the owner's browser hands over: streamed to the disk, whole or not at all."""

import re
import shutil
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.system.files import move_to, numbered_name
from ttt3r_viewer.system.text import printable

MOST_FILES = 5000
"""Of one drop."""
MOST_BYTES = 8 * 1024**3
"""Of one drop."""
SPARE_BYTES = 1024**3
"""What stays free on the disk."""
LONGEST_NAME = 100
PART = ".part-"
OLD_PART_SEC = 24 * 3600.0
"""A part that nobody has written to for so long was left by a program that crashed."""
_NOT_IN_NAMES = re.compile(r"[^\w. -]")


class UploadFolder:
    """Where dropped files are kept: one video by its name, images in a folder of their own."""

    def __init__(self, folder: Path, videos: Set[str], images: Set[str]) -> None:
        """`videos` and `images` are the suffixes of each kind, lower-case, with their dot."""
        self.folder = folder
        self.videos, self.images = videos, images

    def begin(self, files: Any) -> "Upload":
        """Claim the place of some files, each `{"name": str, "bytes": int}`, in their order.

        Raises `InputError` in one line where they are too many, too large, or of another kind.
        """
        named = [self._checked(one) for one in files] if isinstance(files, list) else []
        if not named:
            raise InputError("nothing was dropped; drop a video, or images")
        if len(named) > MOST_FILES:
            raise InputError(f"{len(named):,} files; at most {MOST_FILES:,} at a time: drop fewer")
        videos = [name for name, _ in named if Path(name).suffix.lower() in self.videos]
        if videos and len(named) > 1:
            raise InputError(
                f"{len(named)} files, {videos[0]} among them; drop one video, or images"
            )
        size = sum(size for _, size in named)
        if size > MOST_BYTES:
            raise InputError(
                f"{size / 1e9:.1f} GB; at most {MOST_BYTES / 1e9:.1f} GB at a time: name the path "
                "of what already lies on this computer"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_old_parts()
            free = shutil.disk_usage(self.folder).free - SPARE_BYTES
            if size > free:
                raise InputError(
                    f"{size / 1e9:.1f} GB, and {max(free, 0) / 1e9:.1f} GB may be used in "
                    f"{self.folder}: free some space"
                )
            part = self.folder / f"{PART}{token_hex(8)}"
            part.mkdir()
        except OSError as error:
            raise InputError(f"nothing can be kept in {self.folder} ({error.strerror})") from error
        return Upload(part, named, is_video=bool(videos))

    def _checked(self, one: Any) -> tuple[str, int]:
        """A clean name and the size of a file that was announced. Raises `InputError`."""
        name, size = (one.get("name"), one.get("bytes")) if isinstance(one, dict) else (None, None)
        if not isinstance(name, str) or type(size) is not int:
            raise InputError("a file without name and size; drop a video, or images")
        shown, name = printable(name[:LONGEST_NAME]), clean_name(name)
        if Path(name).suffix.lower() not in self.videos | self.images:
            kinds = " ".join(sorted(self.videos)), " ".join(sorted(self.images))
            raise InputError(f"{shown} is neither a video ({kinds[0]}) nor an image ({kinds[1]})")
        if size < 1:
            raise InputError(f"{shown} is empty; drop a video, or images")
        return name, size

    def _remove_old_parts(self) -> None:
        for part in self.folder.glob(f"{PART}*"):
            if time.time() - part.stat().st_mtime > OLD_PART_SEC:
                shutil.rmtree(part, ignore_errors=True)


class Upload:
    """Files on their way into a hidden folder, one after another without a gap.

    Ends with `finish` or `abort`, after which nothing is left of it but what `finish` returned.
    """

    def __init__(self, part: Path, files: Sequence[tuple[str, int]], *, is_video: bool) -> None:
        self._part, self._files, self._is_video = part, files, is_video
        self._number, self._left = -1, 0
        """Which file is written, from 0, and how many bytes of it are still to come."""
        self._file: IO[bytes] | None = None
        self.received = 0
        self.total = sum(size for _, size in files)

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises `InputError` for more than was announced, or a full disk."""
        if self.received + len(data) > self.total:
            raise InputError("more bytes came than were announced; drop it again")
        rest = memoryview(data)
        try:
            while rest:
                if not self._left:
                    self._next_file()
                assert self._file is not None
                now, rest = rest[: self._left], rest[self._left :]
                self._file.write(now)
                self._left -= len(now)
        except OSError as error:
            raise InputError(f"it cannot be kept ({error.strerror}): free some space") from error
        self.received += len(data)

    def _next_file(self) -> None:
        self._close()
        self._number += 1
        name, self._left = self._files[self._number]
        path = self._part / name
        self._file = (numbered_name(path, 2) if path.exists() else path).open("xb")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> Path:
        """Give what arrived its place; the video, or the folder of the images."""
        assert self.received == self.total, "finished before its end"
        self._close()
        name = self._files[0][0]
        many = len(self._files) > 1 or not self._is_video
        target = self._part.parent / (Path(name).stem if many else name)
        if target.exists():
            target = numbered_name(target, 2)
        try:
            move_to(self._part if many else self._part / name, target)
        except OSError as error:
            raise InputError(f"{target} cannot be made ({error.strerror})") from error
        if not many:
            self._part.rmdir()
        return target

    def abort(self) -> None:
        """Remove what arrived; harmless after `finish`."""
        with suppress(OSError):
            self._close()
        shutil.rmtree(self._part, ignore_errors=True)


def clean_name(name: str) -> str:
    """Return the last part of a file's name with letters, digits and `_.- ` alone, not hidden."""
    last = re.split(r"[/\\]", name)[-1]
    clean = Path(_NOT_IN_NAMES.sub("_", last).strip(". ") or "file")
    return f"{clean.stem[:LONGEST_NAME].strip('. ')}{clean.suffix[:10]}"
