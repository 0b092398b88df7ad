"""One frame's results as bytes, and back: the record of which a recording's files are made.

A record is a prefix of fixed size, a header in JSON, and the arrays one after another; each part
has a CRC-32 of its own, so that a torn or damaged one is found, and one array can be read alone.
The first arrays are a preview: what the scene keeps of the frame, with fewer points, so that many
frames are read soon. `docs/recording.md` describes every field.
"""

import json
import math
import operator
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.recording.manifest import MOST_FRAMES, number, pair, text, understood, whole
from ttt3r_viewer.scene.budget import shrink_image
from ttt3r_viewer.scene.seen import (
    FIRST_IMAGE_WIDTH,
    NO_POINTS,
    FramePoints,
    FrameSummary,
    depth_of,
    kept_with,
    sample_points,
)
from ttt3r_viewer.types import Camera, Crop, FrameResult

MAGIC = b"T3FRAME1"
"""Begins every record; its last character is the version of the record's format."""
_PREFIX = struct.Struct("<8sQQQIII")
_CHECK = struct.Struct("<I")
PREFIX_BYTES = _PREFIX.size + _CHECK.size

FLOAT16_MAX = float(np.finfo(np.float16).max)
_FLOAT16_OVERFLOW = 65520.0
"""From here on rounding to float16 gives infinity."""
_FLOAT16_TINY = 2.0**-14
"""Below this a float16 has fewer than its 11 significant bits."""
TYPES = {"u1": np.uint8, "f2": np.float16, "f4": np.float32}
"""Little-endian array types that a record may hold."""

PREVIEW_POINTS = 2000
"""Of every frame and lane, random ones."""

MOST_RECORDED_LANES = 64
"""Far above what a run has; keeps a made-up number from asking for all memory."""
SHARED = -1
"""Stands for the lane of what all lanes share."""

MAY_BE_EMPTY = {"preview_points_world", "preview_colors", "preview_confidence"}
"""Arrays of a frame of which no point may be finite."""
NOT_UNDERSTOOD = "its header cannot be understood"

Read = Callable[[int, int], bytes]
"""Reads from a record's body: (offset, size) -> bytes."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """First bytes of a record, after `MAGIC`, in their order."""

    run: int
    """A random number that all records of one run share."""
    sequence: int
    body_bytes: int
    header_bytes: int
    header_crc: int
    lanes: int

    @property
    def record_bytes(self) -> int:
        """Length of the whole record."""
        return PREFIX_BYTES + self.header_bytes + self.body_bytes


@dataclass(frozen=True)
class StoredArray:
    """An array's type, shape and place in a record's body."""

    type: str
    shape: tuple[int, ...]
    offset: int
    crc: int

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return math.prod(self.shape) * np.dtype(TYPES[self.type]).itemsize


@dataclass(frozen=True, eq=False)
class Header:
    """Content of a record before its arrays."""

    sequence: int
    facts: Mapping[str, Any]
    """Plain values of the frame; those of the lanes are in its `lanes`."""
    arrays: Mapping[tuple[str, int], StoredArray]
    """By name and lane; `SHARED` for the image."""


def encode_record(results: Sequence[FrameResult], run: int) -> bytes:
    """Encode one frame: `results` of all lanes, which share image, name and times.

    Full points are rounded to float16 where `rounds_well` allows it, gains and confidences always;
    confidences beyond float16 become its largest number.
    """
    first = results[0]
    small = shrink_image(first.image, FIRST_IMAGE_WIDTH)
    seen = [kept_with(result, sample_points(result, PREVIEW_POINTS), small) for result in results]
    arrays = [("preview_picture", SHARED, small)]
    for lane, (result, kept) in enumerate(zip(results, seen, strict=True)):
        assert (result.sequence, result.index) == (first.sequence, first.index), "one frame"
        arrays += [
            ("preview_points_world", lane, kept.points.points_world),
            ("preview_colors", lane, kept.points.colors),
            ("preview_confidence", lane, kept.points.confidence.astype(np.float32)),
            ("gain", lane, kept.gain),
        ]
    arrays.append(("picture", SHARED, np.ascontiguousarray(first.image)))
    for lane, result in enumerate(results):
        arrays += [
            ("points_camera", lane, stored_points(result.points_camera)),
            ("confidence", lane, stored_confidence(result.confidence)),
        ]
    parts = [array.tobytes() for _, _, array in arrays]
    facts = {
        "index": int(first.index),
        "time_sec": float(first.time_sec),
        "name": first.name,
        "crop": asdict(first.crop),
        "lanes": [
            _lane_facts(kept) | {"rule_text": result.rule_text}
            for kept, result in zip(seen, results, strict=True)
        ],
        "arrays": [
            {
                "name": name,
                "lane": lane,
                "type": f"{array.dtype.kind}{array.dtype.itemsize}",
                "shape": list(array.shape),
                "crc32": zlib.crc32(part),
            }
            for (name, lane, array), part in zip(arrays, parts, strict=True)
        ],
    }
    header = json.dumps(facts, separators=(",", ":")).encode("ascii")
    prefix = _PREFIX.pack(
        *(MAGIC, run, first.sequence, sum(map(len, parts))),
        *(len(header), zlib.crc32(header), len(results)),
    )
    return b"".join((prefix, _CHECK.pack(zlib.crc32(prefix)), header, *parts))


def read_prefix(data: bytes) -> Prefix | None:
    """Decode a record's first `PREFIX_BYTES`; None where these bytes begin no whole prefix."""
    if len(data) < PREFIX_BYTES or not data.startswith(MAGIC):
        return None
    if _CHECK.unpack_from(data, _PREFIX.size)[0] != zlib.crc32(data[: _PREFIX.size]):
        return None
    prefix = Prefix(*_PREFIX.unpack_from(data)[1:])
    fits = 1 <= prefix.lanes <= MOST_RECORDED_LANES and prefix.sequence < MOST_FRAMES
    return prefix if fits else None


def read_header(prefix: Prefix, data: bytes) -> Header:
    """Read the JSON that follows a prefix. Raises `RecordingError`."""
    if len(data) != prefix.header_bytes or zlib.crc32(data) != prefix.header_crc:
        raise RecordingError("its header is damaged")
    with understood(NOT_UNDERSTOOD):
        facts = json.loads(data)
        arrays: dict[tuple[str, int], StoredArray] = {}
        offset = 0
        for one in facts["arrays"]:
            if one["type"] not in TYPES:
                raise RecordingError(f"it holds an array of unknown type {one['type']!r}")
            shape = tuple(map(operator.index, one["shape"]))
            if len(shape) > 3 or not all(0 <= side <= prefix.body_bytes for side in shape):
                raise RecordingError("it holds an array of impossible size")
            array = StoredArray(one["type"], shape, offset, one["crc32"])
            if (one["name"], one["lane"]) in arrays:
                raise RecordingError("it holds an array twice")
            arrays[one["name"], one["lane"]] = array
            offset += array.nbytes
        whole = offset == prefix.body_bytes and len(facts["lanes"]) == prefix.lanes
    if not whole:
        raise RecordingError("its header does not fit the rest of it")
    return Header(prefix.sequence, facts, arrays)


def read_image(header: Header, read: Read) -> NDArray[np.uint8]:
    """Return the prepared image (height, width, 3). Raises `RecordingError`."""
    return _array(header, "picture", SHARED, read, (None, None, 3), "u1")


def read_lane(
    header: Header, lane: int, read: Read, image: NDArray[np.uint8] | None = None
) -> FrameResult:
    """Return what one lane made of the frame; `image` where it has been read already.

    Raises `RecordingError` where the record is damaged or has no such lane.
    """
    with understood(NOT_UNDERSTOOD):
        common = _common(header, lane)
        image = read_image(header, read) if image is None else image
        sides = image.shape[:2]
        if sides != (common["camera"].height, common["camera"].width):
            raise RecordingError("its picture is not of its camera's size")
        points = _array(header, "points_camera", lane, read, (*sides, 3))
        return FrameResult(
            image=image,
            points_camera=points.astype(np.float32),
            confidence=_array(header, "confidence", lane, read, sides).astype(np.float32),
            gain=_array(header, "gain", lane, read, (None,)).astype(np.float32),
            rule_text=text(header.facts["lanes"][lane].get("rule_text", "")),
            **common,
        )


def read_summary(header: Header, read: Read) -> tuple[FrameSummary, ...]:
    """Return what the scene keeps of the frame, one per lane, with the points of the preview.

    Raises `RecordingError` where the record is damaged.
    """
    with understood(NOT_UNDERSTOOD):
        image = _array(header, "preview_picture", SHARED, read, (None, None, 3), "u1")
        frames = [read_camera(header, lane) for lane in range(len(header.facts["lanes"]))]
        return tuple(
            replace(
                frame,
                image=image,
                points=_preview_points(header, lane, read, frame.camera),
                gain=_array(header, "gain", lane, read, (None,)),
            )
            for lane, frame in enumerate(frames)
        )


def read_camera(header: Header, lane: int) -> FrameSummary:
    """Return what the header says of one lane, with empty arrays. Raises `RecordingError`."""
    with understood(NOT_UNDERSTOOD):
        common, own = _common(header, lane), header.facts["lanes"][lane]
        return FrameSummary(
            image=np.zeros((0, 0, 3), np.uint8),
            points=NO_POINTS,
            gain=np.zeros(0, np.float16),
            median_depth=number(own["median_depth"]),
            confidence_mean=number(own["confidence_mean"]),
            gain_mean=number(own["gain_mean"]),
            gain_range=pair(own["gain_range"], number),
            **common,
        )


def _common(header: Header, lane: int) -> dict[str, Any]:
    """Give the fields that `FrameResult` and `FrameSummary` share. Raises `RecordingError`."""
    facts, lanes = header.facts, header.facts["lanes"]
    if not 0 <= lane < len(lanes):
        raise RecordingError(f"it has no lane {lane + 1}: there are {len(lanes)}")
    own, crop = lanes[lane], facts["crop"]
    return {
        "sequence": header.sequence,
        "index": whole(facts["index"]),
        "time_sec": number(facts["time_sec"]),
        "name": text(facts["name"]),
        "crop": Crop(
            pair(crop["scale_xy"], number),
            pair(crop["offset_xy"], whole),
            whole(crop["original_width"]),
            whole(crop["original_height"]),
        ),
        "camera": Camera(
            np.array(list(map(number, own["T_world_camera"]))).reshape(4, 4),
            number(own["focal_px"]),
            whole(own["width"]),
            whole(own["height"]),
        ),
        "segment": whole(own["segment"]),
        "compute_sec": number(own["compute_sec"]),
        "state_change": number(own["state_change"]),
        "rule": text(own["rule"]),
        "reset_every": whole(own["reset_every"]),
    }


def _preview_points(header: Header, lane: int, read: Read, camera: Camera) -> FramePoints:
    points = _array(header, "preview_points_world", lane, read, (None, 3))
    return FramePoints(
        points,
        _array(header, "preview_colors", lane, read, points.shape, "u1"),
        _array(header, "preview_confidence", lane, read, points.shape[:1]),
        np.zeros(len(points), np.uint8),  # those at edges are not in a preview
        depth_of(points, camera),
    )


def stored_points(points_camera: NDArray[np.floating]) -> NDArray[np.float16 | np.float32]:
    """Round points (height, width, 3) to float16 where that is no more than rounding."""
    if points_camera.dtype == np.float16 or rounds_well(points_camera):
        return points_camera.astype(np.float16)
    return points_camera.astype(np.float32)


def rounds_well(points: NDArray[np.floating]) -> bool:
    """Whether float16 moves each finite point by at most 2^-11 of its largest coordinate.

    It does, unless a coordinate overflows, or all three of a point lie below 2^-14 without being 0,
    where a float16 has fewer digits.
    """
    size = np.abs(points.reshape(-1))
    if ((size >= _FLOAT16_OVERFLOW) & (size < np.inf)).any():
        return False
    near_zero = np.unique(np.flatnonzero(size < _FLOAT16_TINY) // 3)
    largest = size.reshape(-1, 3)[near_zero].max(axis=1)
    return not ((largest > 0) & (largest < _FLOAT16_TINY)).any()


def stored_confidence(confidence: NDArray[np.floating]) -> NDArray[np.float16]:
    """Round to float16; finite values beyond it become its largest, so that they stay finite."""
    with np.errstate(over="ignore"):
        half = confidence.astype(np.float16)
    over = np.isinf(half) & np.isfinite(confidence)
    half[over] = np.copysign(FLOAT16_MAX, confidence[over])
    return half


def _lane_facts(result: FrameSummary) -> dict[str, Any]:
    camera = result.camera
    return {
        "T_world_camera": np.asarray(camera.T_world_camera, np.float64).reshape(-1).tolist(),
        "focal_px": float(camera.focal_px),
        "width": int(camera.width),
        "height": int(camera.height),
        "segment": int(result.segment),
        "compute_sec": float(result.compute_sec),
        "state_change": float(result.state_change),
        "rule": result.rule,
        "reset_every": int(result.reset_every),
        "median_depth": result.median_depth,
        "confidence_mean": result.confidence_mean,
        "gain_mean": result.gain_mean,
        "gain_range": list(result.gain_range),
    }


def _array(
    header: Header,
    name: str,
    lane: int,
    read: Read,
    shape: Sequence[int | None],
    kind: str = "f",
) -> NDArray[Any]:
    """Read an array of that shape (None: any length) whose type begins with `kind`."""
    stored = header.arrays.get((name, lane))
    if stored is None:
        raise RecordingError(f"it holds no {name}")
    fits = len(stored.shape) == len(shape) and all(
        wanted in (None, side) for wanted, side in zip(shape, stored.shape, strict=True)
    )
    if not fits or not stored.type.startswith(kind):
        raise RecordingError(f"its {name} is {stored.type} of shape {list(stored.shape)}")
    if not stored.nbytes and name not in MAY_BE_EMPTY:
        raise RecordingError(f"its {name} is empty")
    data = read(stored.offset, stored.nbytes)
    if len(data) != stored.nbytes or zlib.crc32(data) != stored.crc:
        raise RecordingError(f"its {name} is damaged")
    return np.frombuffer(data, np.dtype(TYPES[stored.type]).newbyteorder("<")).reshape(stored.shape)
