"""What may be given as input, in the words that every input error ends with."""

from __future__ import annotations

INPUT_KINDS = (
    "wanted a folder of images, a quoted glob such as 'frames/*.jpg', a video, one image, "
    "camera:0, or an address such as rtsp://..."
)

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Files of a folder that count as pictures. HEIC is among them although Pillow cannot read it:
such a picture is then skipped with a reason rather than passed over without a word."""
