"""A checkpoint without optimizers, in parts small enough to be committed.

    python -m training.parts split CHECKPOINTS/last.pt FOLDER
    python -m training.parts join FOLDER CHECKPOINTS/last.pt

Keeps the network and the read-outs in float32 and the average in float16; training that resumes
from it begins with fresh optimizers.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import torch

from training import exit_code
from ttt3r_viewer.errors import WeightsError

PART_BYTES = 15_000_000


def split(checkpoint: Path, folder: Path) -> list[Path]:
    """Write `part-00`, `part-01`, ... into a folder, in place of those that are there."""
    parts = torch.load(checkpoint, map_location="cpu", weights_only=True)
    parts["average"] = {name: value.half() for name, value in parts["average"].items()}
    del parts["optimizers"]
    file = io.BytesIO()
    torch.save(parts, file)
    content = file.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*"):
        old.unlink()
    written = []
    for number, first in enumerate(range(0, len(content), PART_BYTES)):
        path = folder / f"part-{number:02d}"
        path.write_bytes(content[first : first + PART_BYTES])
        written.append(path)
    return written


def join(folder: Path, checkpoint: Path) -> None:
    """Put parts together again. Raises `WeightsError` where there is none."""
    parts = sorted(folder.glob("part-*"))
    if not parts:
        raise WeightsError(f"{folder}: no part-00 of a checkpoint there")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(b"".join(part.read_bytes() for part in parts))


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    given = sys.argv[1:] if arguments is None else arguments
    works = {"split": split, "join": join}
    if len(given) != 3 or given[0] not in works:
        print("error: give split CHECKPOINT FOLDER, or join FOLDER CHECKPOINT", file=sys.stderr)
        return 2
    return exit_code(lambda: works[given[0]](Path(given[1]), Path(given[2])))


if __name__ == "__main__":
    sys.exit(main())
