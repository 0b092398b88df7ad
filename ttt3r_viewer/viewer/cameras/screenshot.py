"""Screenshots of one browser, twice as large, rendered by that browser and sent to it."""

import logging
import threading

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.viewer.layers.maps import png

SCALE = 2
LONGEST_SIDE = 8192
"""Limit that every browser's graphics can render."""
WAIT_SEC = 60.0
"""Time limit of a browser's answer; one without a GPU takes seconds."""
BACKGROUND = (20, 20, 20)
"""Colour of the page where nothing is drawn."""

log = logging.getLogger(__name__)


def image_size(width: int, height: int) -> tuple[int, int]:
    """Return twice the size of a canvas, or as much as its browser can render."""
    factor = min(SCALE, LONGEST_SIDE / max(width, height))
    return max(round(width * factor), 1), max(round(height * factor), 1)


def on_background(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend an image (height, width, 4) RGBA with the background; gives (height, width, 3)."""
    share = image[..., 3:].astype(np.float32) / 255
    laid = share * image[..., :3] + (1 - share) * np.array(BACKGROUND, np.float32)
    return laid.round().astype(np.uint8)


class Screenshots:
    """Takes one screenshot at a time, each in its own thread: a browser may take long."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        """Held while a screenshot is taken."""

    def take(self, client: viser.ClientHandle, name: str) -> None:
        """Render what a browser shows and send it the PNG as `name`; returns at once."""
        if not self._busy.acquire(blocking=False):
            client.add_notification(
                "Screenshot", "Another one is being taken: try again in a moment.", color="yellow"
            )
            return
        threading.Thread(
            target=self._take, args=(client, name), name="screenshot", daemon=True
        ).start()

    def _take(self, client: viser.ClientHandle, name: str) -> None:
        try:
            width, height = image_size(client.camera.image_width, client.camera.image_height)
            image = client.get_render(height, width, transport_format="png", timeout=WAIT_SEC)
            file = png(on_background(image))
            client.send_file_download(name, file, save_immediately=True)
        except (RuntimeError, TimeoutError, ValueError, MemoryError) as error:
            # The notification does not reach a browser that was closed meanwhile.
            log.warning("no screenshot: %s", error)
            client.add_notification("No screenshot", str(error), color="red")
        finally:
            self._busy.release()
