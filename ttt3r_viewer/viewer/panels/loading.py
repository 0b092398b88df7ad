"""What stands in the middle of the page until the first points: the input's first image, a line."""

import math

from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers.maps import jpeg_url
from ttt3r_viewer.viewer.tick import Part, Tick

RESTART_SEC = 0.5
"""A scene that is emptied is soon filled again, without this."""


class LoadingPanel(Part):
    """Says what is being waited for. It has no widget."""

    def __init__(self, page: PageContext) -> None:
        self._overlay = page.overlay
        self._filled_sec = -math.inf
        """When there were points last."""
        self._image_of: object = None
        self._image = ""

    def update(self, tick: Tick) -> None:
        """Say what is being done while there are no frames yet."""
        snapshot = tick.snapshot
        if snapshot.frames:
            self._filled_sec = tick.now_sec
        comes = snapshot.status.phase in ("starting", "running")
        if not comes or tick.now_sec - self._filled_sec < RESTART_SEC:
            self._overlay.show("loading", None)
            return
        if snapshot.first_image is not None and snapshot.first_image is not self._image_of:
            self._image_of, self._image = snapshot.first_image, jpeg_url(snapshot.first_image)
        title, line = words_of(snapshot)
        talk = tick.settings.show.presenting
        self._overlay.show(
            "loading", {"title": title, "line": line, "image": self._image, "talk": talk}
        )


def words_of(snapshot: SceneSnapshot) -> tuple[str, str]:
    """Return a title and a line about what is being waited for."""
    status = snapshot.status
    if snapshot.recording is not None and 0 in snapshot.recording:
        return "Reading the recording", "the first points come in a moment"
    if status.phase == "starting":
        _, _, what = status.message.partition(": ")
        come = "the first points come soon after"
        return "Loading the network", f"{what}; {come}" if what else come
    return "Waiting for the first points", status.message or "the first frame is reconstructed"
