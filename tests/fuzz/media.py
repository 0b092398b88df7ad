"""Poses, data sets, pictures, films and settings as hostile bytes: valid ones to begin with, and
the readers that get them.
"""

import io
import json
import struct
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
from PIL import Image

from tests.media import level_frames, write_video
from ttt3r_viewer.errors import ViewerError
from ttt3r_viewer.evaluate.datasets import DATASETS
from ttt3r_viewer.evaluate.datasets.base import read_lines, read_matrix
from ttt3r_viewer.evaluate.datasets.sintel import TAG, read_cam, read_dpt
from ttt3r_viewer.frames.folder import is_still_image, read_image
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.frames.times import image_times
from ttt3r_viewer.metrics.ground_truth import read_ground_truth
from ttt3r_viewer.metrics.true_depth import read_depth_png
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.settings import read_config, settings_from
from ttt3r_viewer.types import Frame, SkippedFrame

FRAMES_TAKEN = 12
"""Of a video: enough to meet damage, and few enough to be quick."""


def made_by(write: Callable[[Path], object], name: str) -> bytes:
    """What `write` leaves in a file of that name."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def put(data: bytes, folder: Path, name: str) -> Path:
    """The bytes in a file of that name."""
    path = folder / name
    path.write_bytes(data)
    return path


def pose_files() -> Sequence[bytes]:
    tum = b"# time x y z qx qy qz qw\n" + b"".join(b"%d 0 0 0 0 0 0 1\n" % k for k in range(3))
    return tum, b"1 0 0 0 0 1 0 0 0 0 1 0\n" * 3


def give_poses(data: bytes, folder: Path, name: str = "poses.txt") -> None:
    poses = read_ground_truth(put(data, folder, name))
    assert np.isfinite(poses.T_world_camera).all()
    for index in range(3):
        poses.pose_of(index, float(index), f"images/{index}.png")


def transforms() -> Sequence[bytes]:
    frames = [
        {"file_path": f"images/{k}.png", "transform_matrix": np.eye(4).tolist()} for k in range(3)
    ]
    return [json.dumps({"camera_angle_x": 0.7, "frames": frames}).encode()]


def give_transforms(data: bytes, folder: Path) -> None:
    give_poses(data, folder, "transforms.json")


def data_texts() -> Sequence[bytes]:
    return (
        b"0.0 rgb/0.png\n0.1 rgb/1.png\n0.2 rgb/2.png\n",
        b"0.0\n0.1\n0.2\n",
        b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n",
        b"sequence1\nsequence2\n",
        *pose_files(),
    )


def give_data_text(data: bytes, folder: Path) -> None:
    """The text stands where each data set has a text; what each opens is read as far as it goes."""
    images = ("0.png", "1.png", "2.png")
    for place in ("tum/seq/rgb", "kitti/sequences/00/image_2", "7scenes/chess/seq-01",
                  "scannet/scan/color", "scannet/scan/pose", "scannet/scan/intrinsic"):  # fmt: skip
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / "kitti/poses").mkdir(exist_ok=True)
    for place in ("tum/seq/rgb", "kitti/sequences/00/image_2", "scannet/scan/color"):
        for name in images:
            (folder / place / name).touch()
    (folder / "7scenes/chess/seq-01/frame-000000.color.png").touch()
    (folder / "tum/seq/groundtruth.txt").write_bytes(pose_files()[0])
    (folder / "kitti/poses/00.txt").write_bytes(pose_files()[1])
    for name in ("tum/seq/rgb.txt", "tum/seq/depth.txt", "kitti/sequences/00/times.txt",
                 "7scenes/chess/TestSplit.txt", "7scenes/chess/seq-01/frame-000000.pose.txt",
                 "scannet/scan/pose/0.txt", "scannet/scan/intrinsic/intrinsic_depth.txt",
                 "timestamps.txt"):  # fmt: skip
        (folder / name).write_bytes(data)

    def read_dataset(name: str) -> None:
        dataset = DATASETS[name].make(folder / name)
        for sequence in dataset.sequences(None):
            for frame in dataset.open(sequence, 1, 3):
                assert np.isfinite(frame.time_sec)
                if frame.depth is not None:
                    frame.depth.read()

    for read in (
        *(partial(read_dataset, name) for name in ("tum", "kitti", "7scenes", "scannet")),
        lambda: read_matrix(folder / "scannet/scan/pose/0.txt", 4, 4),
        lambda: read_lines(folder / "timestamps.txt"),
        lambda: image_times(folder, images, 30.0),
    ):
        said = ""
        try:
            read()
        except ViewerError as error:
            said = str(error)
        assert "\n" not in said, "an error of several lines"


def data_binaries() -> Sequence[bytes]:
    stream = io.BytesIO()
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4)).save(stream, "png")
    tag = np.float32(TAG).tobytes()
    cam = tag + np.concatenate([np.eye(3).ravel(), np.eye(4)[:3].ravel()]).tobytes()
    return stream.getvalue(), cam, tag + struct.pack("<ii", 4, 3) + bytes(48)


def give_data_binary(data: bytes, folder: Path) -> None:
    path = put(data, folder, "a.png")
    for read in (read_cam, read_dpt, lambda path: read_depth_png(path, 1000.0, (0, 65535))):
        with suppress(ViewerError):
            value = read(path)
            if isinstance(value, tuple):
                assert value[1].shape == (4, 4)
            else:
                assert value.ndim == 2
                assert value.size


def images() -> Sequence[bytes]:
    image = Image.fromarray(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3))
    found = []
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF", "MPO",
                 "ICO", "EPS", "PCX", "TGA"):  # fmt: skip
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        with suppress(OSError, KeyError, ValueError):  # this Pillow may not write it
            image.save(stream, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
            found.append(stream.getvalue())
    for mode in ("L", "P", "LA", "RGBA", "I;16", "1", "F", "CMYK"):
        stream = io.BytesIO()
        with suppress(OSError, ValueError):
            kind = "TIFF" if mode in ("F", "CMYK") else "PNG"
            image.convert("L" if mode == "I;16" else mode).save(stream, kind)
            found.append(stream.getvalue())
    return found


def give_image(data: bytes, folder: Path) -> None:
    path = put(data, folder, "a.png")
    is_still_image(path)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


def videos() -> Sequence[bytes]:
    gif = io.BytesIO()
    first, *rest = (Image.fromarray(one) for one in level_frames(3))
    first.save(gif, "GIF", save_all=True, append_images=rest)
    kinds = ("a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts")
    return [
        *(made_by(lambda path: write_video(path, level_frames(6)), kind) for kind in kinds),
        gif.getvalue(),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile 'a.mp4'\n",
    ]


def give_video(data: bytes, folder: Path) -> None:
    path = put(data, folder, "a.mp4")
    # Closed even where it is not read to its end, or the next inputs would want for memory.
    with closing(cast("Generator[Frame | SkippedFrame]", iter(open_source(str(path))))) as items:
        for item in islice(items, FRAMES_TAKEN):
            if isinstance(item, Frame):
                assert item.image.ndim == 3
                assert item.image.shape[2] == 3
                assert np.isfinite(item.time_sec)


def configs() -> Sequence[bytes]:
    return (
        b"input: demo:loop\nrule: constant\nrate: 0.3\nstride: 2\nfps: 12.5\n",
        b"rules: ttt3r,constant:0.3\nreset-every: 5\ninspect: true\n",
        b"a: &a [x, x]\nb: &b [*a, *a]\ninput: *b\n",
        b"base: &b {stride: 3}\n<<: *b\nhost: 'x'\n",
    )


def give_yaml(data: bytes, folder: Path) -> None:
    settings = settings_from(read_config(put(data, folder, "a.yaml")))
    settings.as_dict()
    rules_from_text(settings.rules.rules)


def give_rules(data: bytes, _folder: Path) -> None:
    for rule in rules_from_text(data.decode("utf-8", "replace")):
        str(rule)
