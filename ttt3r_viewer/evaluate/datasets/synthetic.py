"""The procedural rooms as a data set for `ttt3r-view eval`: nothing is read from disk.

torch is imported when rooms are asked for, so that the command line can list the data sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.evaluate.datasets.base import DatasetInfo, TrueFrame
from ttt3r_viewer.metrics.true_depth import TrueDepth

FIRST_ROOM, ROOMS = 1000, 8
"""Those that are taken where none are named."""
INFO = DatasetInfo(
    "procedural rooms",
    "nothing: rooms are made by seed",
    ("poses", "depth", "points"),
    "16,30,100",
    endless=True,
)
FPS = 30.0


@dataclass(frozen=True)
class SyntheticRooms:
    """Rooms that no model is trained on; a sequence is named by its seed."""

    height: int
    width: int
    """Pixels that are rendered: best what the network takes."""
    info: DatasetInfo = INFO
    pace: float = 1.0
    """Speed of the camera, times its own."""
    device: str = "cpu"
    """Where rooms are rendered."""

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """Eight rooms, or those of the wanted seeds; `1000:1024` is a range."""
        from ttt3r_viewer.synthetic.scenes import TEST_SEEDS

        if wanted is None:
            return [str(FIRST_ROOM + number) for number in range(ROOMS)]
        seeds: list[int] = []
        for text in wanted:
            first, colon, stop = text.partition(":")
            if not first.isdecimal() or (colon and not stop.isdecimal()):
                raise SettingsError(f"--sequences {text}: rooms are seeds, as 1000 or 1000:1024")
            seeds += range(int(first), int(stop)) if colon else [int(first)]
        if not seeds or min(seeds) not in TEST_SEEDS or max(seeds) not in TEST_SEEDS:
            raise SettingsError(
                f"--sequences {','.join(wanted)}: rooms that are never trained on have seeds from "
                f"{TEST_SEEDS.start} to {TEST_SEEDS.stop - 1}"
            )
        return [str(seed) for seed in dict.fromkeys(seeds)]

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Render the room; it has no end, so `most` must be said."""
        import torch

        from ttt3r_viewer.synthetic.scenes import render_clips

        assert most is not None, "info.endless forbids to ask for all"
        clip = render_clips(
            [int(sequence)],
            most,
            self.height,
            self.width,
            device=self.device,
            stride=stride,
            step_scale=self.pace,
        ).to(torch.device("cpu"))
        images = (clip.images[0] * 255).round().byte().numpy()
        poses = clip.T_world_camera[0].double().numpy()
        focal_px = float(clip.focal_px[0])
        intrinsics = np.array(
            [[focal_px, 0, self.width // 2], [0, focal_px, self.height // 2], [0, 0, 1]],
            dtype=np.float64,
        )
        return tuple(
            TrueFrame(
                name=f"room {sequence} frame {number * stride}",
                time_sec=number * stride / FPS,
                read_image=partial(np.asarray, image),
                T_world_camera=pose,
                depth=TrueDepth(partial(np.asarray, depth), intrinsics),
            )
            for number, (image, pose, depth) in enumerate(
                zip(images, poses, clip.depth[0].numpy(), strict=True)
            )
        )
