"""When each image of a folder was taken.

The first of these that there is decides:

1. `timestamps.txt` or `rgb.txt` in the images' folder, else in the folder above. Either may hold
   lines `seconds filename` (TUM's form: paths are matched by their last part) or one number of
   seconds per line, as many as there are images, in the images' order; `#` begins a comment.
   A file that is there and does not fit is an error, never passed over.
2. File names that are seconds with a decimal point, such as TUM's `1305031102.175304.png`: all of
   them, and none earlier than the one before. `000012.jpg` is a number, not a time.
3. The image's index / fps.

Images of several folders share no clock, so theirs follow from 2 or 3.
"""

import math
import os
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.system.text import last_part, number_in, numbered_fields

_DECIMAL_STEM = re.compile(r"[0-9]+\.[0-9]+")
_ADVICE = "fix the file, or rename it to time the frames by file name or fps"


def image_times(folder: Path, names: Sequence[str], fps: float) -> list[float]:
    """Seconds of each image by the rule of this module.

    `names` are in order, relative to `folder`, and hold a separator where they lie deeper.
    Raises `InputError` where a file of times does not fit the images.
    """
    # The absolute path has a folder above it where the given one, such as ".", shows none.
    folder = folder.absolute()
    places = () if any(os.sep in name for name in names) else (folder, folder.parent)
    for place, name in product(places, ("timestamps.txt", "rgb.txt")):
        if (place / name).is_file():
            return _from_file(place / name, names)
    stems = [name.rpartition(os.sep)[2].rpartition(".")[0] for name in names]
    if all(_DECIMAL_STEM.fullmatch(stem) for stem in stems):
        times = [float(stem) for stem in stems]
        if _first_backward(times) is None:
            return times
    return [index / fps for index in range(len(names))]


def _from_file(path: Path, names: Sequence[str]) -> list[float]:
    """Times that the file at `path` gives to the images `names`, in their order."""
    bare: list[float] = []
    by_name: dict[str, float] = {}
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {_ADVICE}") from error
    # Two fields at most, since a file name may hold spaces.
    for number, fields in numbered_fields(text, most_splits=1):
        time_sec = number_in(fields[0])
        if not math.isfinite(time_sec):
            raise InputError(
                f"{path} line {number} is '{' '.join(fields)[:60]}'; wanted `seconds` or"
                f" `seconds filename`: {_ADVICE}"
            )
        if len(fields) == 1:
            bare.append(time_sec)
            continue
        name = last_part(fields[1])
        if by_name.setdefault(name, time_sec) != time_sec:
            raise InputError(f"{path} line {number} gives {name} a second time: {_ADVICE}")
    if bare and by_name:
        raise InputError(f"{path} names the files of some lines and not of others: {_ADVICE}")
    if not by_name and len(bare) != len(names):
        raise InputError(f"{path} holds {len(bare)} times for {len(names)} images: {_ADVICE}")
    missing = [name for name in names if name not in by_name] if by_name else []
    if missing:
        raise InputError(
            f"{path} gives no time for {len(missing)} of {len(names)} images,"
            f" the first {missing[0]}: {_ADVICE}"
        )
    times = [by_name[name] for name in names] if by_name else bare
    backward = _first_backward(times)
    if backward is not None:
        raise InputError(
            f"{path} gives {names[backward]} an earlier time than the image before it: {_ADVICE}"
        )
    return times


def _first_backward(times: Sequence[float]) -> int | None:
    """Index of the first time that is earlier than the one before it, or None."""
    return next((i for i in range(1, len(times)) if times[i] < times[i - 1]), None)
