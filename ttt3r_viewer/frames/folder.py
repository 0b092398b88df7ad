"""Images from files: a folder, a glob pattern, or one image.

An image becomes upright 8-bit RGB: EXIF orientation is applied; 16-bit grey is scaled by 1 / 257,
not clipped; transparent pixels are laid over black; CMYK is converted without its ICC profile; the
first image of a file that holds several is taken. Images of floats or of 32-bit integers are
refused, because nothing says which value is white. So is everything that Pillow cannot decode to
the last byte, or takes for a decompression bomb.
"""

import glob
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ttt3r_viewer.errors import FrameError, InputError, system_words
from ttt3r_viewer.frames.selection import (
    IMAGE_SUFFIXES,
    INPUT_KINDS,
    RepeatableSource,
    Selection,
)
from ttt3r_viewer.frames.times import image_times
from ttt3r_viewer.system.text import printable, some_of
from ttt3r_viewer.types import Frame, SkippedFrame

_NUMBER = re.compile(r"[0-9]+")
_FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
"""What Pillow may take a file for, whatever its name, of those that it knows. Among its others is
PostScript, a program, which it would hand to Ghostscript.
"""
_MOVING_FORMATS = frozenset({"GIF", "PNG", "WEBP"})
"""Formats whose further images are later moments; those of TIFF or a phone's MPO are not."""


class FolderSource(RepeatableSource):
    """Frames from image files, each opened when it is its turn and closed again.

    A file that cannot be read, or is gone by then, becomes a `SkippedFrame`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        image_names: Sequence[str],
        selection: Selection,
        fps: float = 30.0,
        times_sec: Sequence[float] | None = None,
    ) -> None:
        """Yield the selected ones of `image_names` in `folder`; none of them is touched yet.

        `times_sec` has one time for each name; without it, `times.py` finds them, with `fps` as its
        last resort. Raises `InputError` for a start beyond the end or times that do not fit.
        """
        super().__init__(name)
        self._folder = folder
        self._names = image_names
        self._indices = selection.indices(len(image_names), name)
        self.total = len(self._indices)
        if times_sec is None:
            times_sec = image_times(folder, image_names, fps)
        self._times_sec = times_sec

    def after(self, last: int) -> Iterator[Frame | SkippedFrame]:
        """The frames after index `last`; those before are not opened."""
        for index in self._indices:
            if index <= last:
                continue
            if self._closed:
                return
            path = self._folder / self._names[index]
            name = printable(self._names[index])
            try:
                image = read_image(path)
            except FrameError as error:
                yield SkippedFrame(index, name, str(error))
            else:
                yield Frame(index, self._times_sec[index], name, image)


def natural_key(name: str) -> tuple[str, str]:
    """Key that sorts names as people do: img2 before img10, numbers of any length, by folder first.

    Case does not count, nor do leading zeros, except between names that are otherwise the same.
    """
    # NUL is below every letter, so a folder's images stay together.
    text = name.casefold().replace(os.sep, "\0")
    return _NUMBER.sub(_sortable_number, text), name


def _sortable_number(match: re.Match[str]) -> str:
    """Digits after their count, so that texts compare as the numbers do, however long."""
    digits = match[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"


def list_folder(folder: Path) -> list[str]:
    """Names of the images of `folder` in natural order.

    The suffix tells what is an image; hidden and all other files are ignored.
    No file is opened or examined, so a folder of 100,000 images opens in a second.
    Raises `InputError` where there is none.
    """
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be read ({error.strerror}); {INPUT_KINDS}"
        ) from error
    if not found:
        raise InputError(f"the folder {folder} is empty; {INPUT_KINDS}")
    names = [name for name, is_folder in found if not is_folder and is_image_name(name)]
    if not names:
        others = sorted((name + "/" * is_folder for name, is_folder in found), key=natural_key)
        shown = some_of(others, 5)
        raise InputError(f"the folder {folder} has no images, only {shown}; {INPUT_KINDS}")
    return sorted(names, key=natural_key)


def list_glob(pattern: str) -> tuple[Path, list[str]]:
    """The folder above all images that match `pattern`, and their names in it, in natural order.

    `**` matches any depth of folders; a match that is not an image is ignored.

    Raises `InputError` where there is none.
    """
    # `Path.glob` would want an absolute pattern cut into a folder and the rest.
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207
    if not matches:
        raise InputError(f"nothing matches the pattern {pattern}; {INPUT_KINDS}")
    paths = [Path(match) for match in matches if is_image_name(PurePath(match).name)]
    paths = [path for path in paths if not path.is_dir()]
    if not paths:
        shown = some_of(sorted(matches, key=natural_key), 5)
        raise InputError(f"no image matches the pattern {pattern}, only {shown}; {INPUT_KINDS}")
    folder = os.path.commonpath({path.parent for path in paths})
    # A set, because a pattern with two `**` finds a file once for each way to reach it.
    return Path(folder), sorted({os.path.relpath(path, folder) for path in paths}, key=natural_key)


def is_still_image(path: Path) -> bool:
    """Whether Pillow knows the file as an image that is not an animation.

    An image too large for Pillow counts: `read_image` then says so.
    """
    try:
        with _image(path) as image:
            return image.format not in _MOVING_FORMATS or not getattr(image, "is_animated", False)
    except _TooLargeError:
        return True
    except FrameError:
        return False


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode one image to upright (height, width, 3) RGB, by the rules of this module.

    Raises `FrameError` with a one-line reason that does not repeat the name.
    """
    with _image(path) as image:
        # In place, and below without a copy: one of a large image is hundreds of megabytes.
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image, image.format)


def read_numbers(path: Path) -> tuple[str, NDArray[np.generic]]:
    """Decode one image as it is: Pillow's mode, and the array of its numbers.

    Raises `FrameError` with a one-line reason that does not repeat the name.
    """
    with _image(path) as image:
        return image.mode, np.asarray(image)


class _TooLargeError(FrameError):
    """Pillow takes the image for a decompression bomb."""


@contextmanager
def _image(path: Path) -> Iterator[Image.Image]:
    """An image, closed again, whose errors while it is decoded become a `FrameError`."""
    try:
        with _open_image(path) as image:
            yield image
    except FrameError:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever a damaged file leads them to, and one such file
        # must not end the run; the error's own words are in the reason.
        raise FrameError(f"the image is damaged or cut off ({system_words(error)})") from error


def _open_image(path: Path) -> Image.Image:
    """Read an image's head; the caller closes it. Raises `FrameError`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # To open a named pipe would wait for ever.
            raise FrameError("it is not a file")
        if status.st_size == 0:
            raise FrameError("the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.init()
            return Image.open(path, formats=sorted(_FORMATS & Image.OPEN.keys()))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise _TooLargeError(
            f"the image is too large: at most {limit:.3g} million pixels are decoded; make it "
            f"smaller ({system_words(error)})"
        ) from error
    except UnidentifiedImageError as error:
        raise FrameError("the file is not an image that can be read") from error
    except FileNotFoundError as error:
        raise FrameError("the file is gone") from error
    except OSError as error:
        raise FrameError(f"the file cannot be read ({system_words(error)})") from error


def _to_rgb(image: Image.Image, file_format: str | None) -> NDArray[np.uint8]:
    """Turn any mode of Pillow's into (height, width, 3) RGB. Raises `FrameError` for F and I."""
    mode = image.mode
    # Pillow opens a 16-bit PGM as 32-bit integers, but stretched to 0..65535 like the others.
    if mode.startswith("I;16") or (mode == "I" and file_format == "PPM"):
        # The nearest of value / 257, in whole numbers, which take half of the memory of floats.
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode in ("I", "F"):
        numbers = "32-bit integers" if mode == "I" else "floats"
        raise FrameError(f"the image holds {numbers}, and nothing says which value is white")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def is_image_name(name: str) -> bool:
    """Whether a file of this name is read: of a known kind, and not hidden."""
    _, dot, suffix = name.rpartition(".")
    return not name.startswith(".") and dot + suffix.lower() in IMAGE_SUFFIXES
