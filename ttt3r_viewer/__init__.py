"""TTT3R live: watch a recurrent network rebuild a place from images or video.

frames -> model (proposes a new state) -> rule (decides how much of it to accept) -> scene -> viewer

The public names below are imported when they are first used, so that the command line starts
without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ttt3r_viewer.system.version import __version__

if TYPE_CHECKING:
    from ttt3r_viewer.errors import ViewerError
    from ttt3r_viewer.reconstruct.session import Session
    from ttt3r_viewer.rules.registry import make_rule
    from ttt3r_viewer.types import Camera, Frame, FrameResult
    from ttt3r_viewer.weights.load import load_network

__all__ = [
    "Camera",
    "Frame",
    "FrameResult",
    "Session",
    "ViewerError",
    "__version__",
    "load_network",
    "make_rule",
]

_HOME = {
    "Camera": "types",
    "Frame": "types",
    "FrameResult": "types",
    "Session": "reconstruct.session",
    "ViewerError": "errors",
    "load_network": "weights.load",
    "make_rule": "rules.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
