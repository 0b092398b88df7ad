"""What a user can ask of the running reconstruction, and the mailbox that carries it there."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty


@dataclass(frozen=True)
class Play:
    """Go on with the frames; nothing happens where the run is already going."""


@dataclass(frozen=True)
class Pause:
    """Stop before the next frame and keep every state."""


@dataclass(frozen=True)
class Step:
    """Process one frame, then pause."""


@dataclass(frozen=True)
class Restart:
    """Forget the scene and every state, and begin again at the first frame."""


@dataclass(frozen=True)
class SetParameter:
    """Give one lane's rule another hyper-parameter from the next frame on."""

    lane: int
    name: str
    value: float


@dataclass(frozen=True)
class SetResetEvery:
    """Reset every lane after so many frames from the next frame on; 0 for never."""

    frames: int


@dataclass(frozen=True)
class SetRules:
    """Begin again with these lanes, each in the form that `--rules` takes."""

    rules: tuple[str, ...]


@dataclass(frozen=True)
class SetBudget:
    """Let the scene keep so many points from now on."""

    max_points: int


@dataclass(frozen=True)
class Inspect:
    """Look into what a lane did with one of the processed frames; the latest question wins."""

    lane: int
    sequence: int


@dataclass(frozen=True)
class Query:
    """Ask the state of every lane what a camera would see; the latest question wins."""

    number: int
    """Comes back with the answer."""
    pose: tuple[float, ...]
    """(7,) camera to world, the lanes' own: x y z, then the unit quaternion w x y z."""
    fov_y_rad: float
    """Vertical field of view."""


@dataclass(frozen=True)
class Stop:
    """End the worker's thread; what has been reconstructed stays in the scene."""


Adjustment = SetParameter | SetResetEvery | SetRules
"""What changes how the frames are reconstructed."""
Question = Inspect | Query
"""What is answered between two frames."""
RunEnd = Restart | Stop
"""What ends a run before its last frame."""
Message = Play | Pause | Step | RunEnd | Adjustment | SetBudget | Question


class Mailbox:
    """Messages on their way to the thread that reconstructs; any thread may use it.

    Of messages of one kind and target only the latest is kept, in the order of those latest. Each
    `Step` is a frame of its own, so none replaces another.
    """

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        """Guards `_waiting`; notified of every message."""
        self._waiting: dict[object, Message] = {}

    def put(self, message: Message) -> None:
        """Leave a message in place of an earlier one of its kind and target."""
        with self._arrived:
            key: object = type(message)
            if isinstance(message, SetParameter):
                key = SetParameter, message.lane, message.name
            elif isinstance(message, Step):
                key = object()
            self._waiting.pop(key, None)
            self._waiting[key] = message
            self._arrived.notify()

    def get(self, timeout: float | None = None) -> Message:
        """Wait for the oldest message and take it. Raises `queue.Empty` after `timeout` seconds."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._waiting, timeout):
                raise Empty
            return self._waiting.pop(next(iter(self._waiting)))

    def waiting(self) -> Iterator[Message]:
        """Take every message that waits, the oldest first."""
        with suppress(Empty):
            while True:
                yield self.get(0)
