"""Identify the weights in a file from samples of it, in milliseconds."""

import hashlib
from pathlib import Path

from ttt3r_viewer.errors import WeightsError

BLOCK_BYTES = 4096
BLOCKS = 256
"""Evenly spread over the file; its first and its last bytes are among them."""


def fingerprint(path: Path) -> str:
    """Give 16 hexadecimal digits that depend on a file's size and on samples of its content.

    They tell weights that were trained or converted otherwise apart, not a single changed number.
    Raises `WeightsError` where the file cannot be read.
    """
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        last = max(size - BLOCK_BYTES, 0)
        with path.open("rb") as file:
            for block in range(BLOCKS):
                file.seek(last * block // (BLOCKS - 1))
                digest.update(file.read(BLOCK_BYTES))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]
