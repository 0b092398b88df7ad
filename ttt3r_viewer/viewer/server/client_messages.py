"""Allow-list of browser messages: each is checked before viser, which checks nothing, reads it.

viser would set any field of a widget to any value, buffer uploads without limit, and end a
connection's task at an unknown field. So whatever is not listed here is dropped.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import viser

from ttt3r_viewer.viewer.server.access import Role

MAX_BYTES = 64 * 1024
"""Size limit of a browser's message; ours are below 1 kB."""
MAX_RENDER_BYTES = 50 * 1024 * 1024
"""Size limit of an image that the owner's browser renders; viser takes no more either."""
MAX_TEXT = 1000
"""Length limit of a text that a user types, in characters."""
MAX_NUMBER = 1e9
MAX_LENGTH = 1e9
"""Limit of a camera's coordinates, in the scene's unit."""
NEAREST = 1e-6
"""Least distance of a camera's look-at point, as a share of the camera's distance from the origin.
viser fails at the next move of a camera that is nearer, and the page then fails for everybody."""
MAX_SIDE_PX = 65_536
MAX_SCREEN_POINTS = 64

Check = Callable[[Any], bool]
Widgets = Callable[[str], Any]
"""Maps an identifier to viser's widget, or None."""


def _number(most: float, least: float | None = None) -> Check:
    """Check for a finite number from `least`, by default -most, to `most`."""
    low = -most if least is None else least

    def check(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and low <= value <= most

    return check


def _list(one: Check, least: int, most: int) -> Check:
    """Check for a list of `least` to `most` items that all pass `one`."""
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= most and all(map(one, value))
    )


def _is(*kinds: type) -> Check:
    return lambda value: isinstance(value, kinds)


_vector = _list(_number(MAX_LENGTH), 3, 3)
_pixels = _number(MAX_SIDE_PX, 0)  # a minimized browser window has no pixels

FIELDS: dict[str, dict[str, Check]] = {
    "ViewerCameraMessage": {
        "wxyz": _list(_number(2.0), 4, 4),
        "position": _vector,
        "look_at": _vector,
        "up_direction": _vector,
        "fov": _number(math.pi, 0),
        "near": _number(MAX_LENGTH),
        "far": _number(MAX_LENGTH),
        "image_height": _pixels,
        "image_width": _pixels,
    },
    "GetRenderResponseMessage": {"payload": _is(bytes), "render_uuid": _is(str)},
    "GuiUpdateMessage": {
        "uuid": _is(str),
        "updates": lambda value: isinstance(value, dict) and value.keys() == {"value"},
    },
    "CommandTriggerMessage": {"uuid": _is(str)},
    "ScenePointerMessage": {
        "event_type": lambda value: value == "click",
        "ray_origin": _vector,
        "ray_direction": _vector,
        "screen_pos": _list(_list(_number(MAX_NUMBER), 2, 2), 1, MAX_SCREEN_POINTS),
        "modifier": _is(str, type(None)),
    },
    "FileTransferPartAck": {
        "source_component_uuid": _is(str, type(None)),
        "transfer_uuid": _is(str),
        "transferred_bytes": _number(MAX_LENGTH),
        "total_bytes": _number(MAX_LENGTH),
    },
}
"""The kinds of messages that our page sends, each with all its fields and their checks."""
GUEST_KINDS = frozenset({"ViewerCameraMessage", "GuiUpdateMessage"})
"""What looking around needs, and a guest's own widgets."""


def widgets_of(server: viser.ViserServer) -> Widgets:
    """Return a look-up of a server's widgets, safe from any thread: a dictionary's `get`."""
    return server.gui._gui_input_handle_from_uuid.get


def refusal(raw: bytes | str, role: Role, widgets: Widgets) -> str:
    """Return why a message is dropped; empty where it is passed on.

    `widgets` are those that this role may change.
    """
    if isinstance(raw, str):
        return "text, where viser speaks bytes"
    if len(raw) > (MAX_RENDER_BYTES if role == "owner" else MAX_BYTES):
        return "too large"
    try:
        message = msgspec.msgpack.decode(raw)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return "no msgpack"
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "no message"
    kind = message.pop("type")
    if kind not in FIELDS:
        return "a kind that the page does not use"
    if role == "guest" and kind not in GUEST_KINDS:
        return "a guest only looks"
    if len(raw) > MAX_BYTES and kind != "GetRenderResponseMessage":
        return f"more than {MAX_BYTES} bytes"
    if message.keys() != FIELDS[kind].keys():
        return f"{kind} with other fields"
    valid = all(check(message[name]) for name, check in FIELDS[kind].items())
    if valid and kind == "ViewerCameraMessage":
        valid = _camera_is_usable(message)
    if valid and kind == "GuiUpdateMessage":
        handle = widgets(message["uuid"])
        enabled = handle is not None and not getattr(handle._impl.props, "disabled", False)
        valid = enabled and value_fits(handle, message["updates"]["value"])
    return "" if valid else f"{kind} with a value that no widget gives"


def _camera_is_usable(message: Mapping[str, Any]) -> bool:
    distance = math.dist(message["look_at"], message["position"])
    return (
        0 < message["fov"] < math.pi
        and any(message["wxyz"])
        and distance >= NEAREST * max(1.0, math.hypot(*message["position"]))
        and math.hypot(*message["up_direction"]) >= NEAREST
    )


def value_fits(handle: Any, value: object) -> bool:
    """Whether a value is of a widget's type, in its range or among its options.

    A number box also takes numbers out of its range: browsers send half-typed numbers, and the
    panel clamps them.
    """
    now, props = handle._impl.value, handle._impl.props
    if isinstance(now, bool):
        return isinstance(value, bool)
    if isinstance(now, int | float):
        if isinstance(handle, viser.GuiSliderHandle):
            half_step = props.step / 2  # a browser rounds
            in_range = _number(props.max + half_step, props.min - half_step)
            return _number(MAX_NUMBER)(value) and in_range(value)
        return _number(MAX_NUMBER)(value)
    if not isinstance(now, str) or not isinstance(value, str):
        return False
    options = getattr(props, "options", None)
    return len(value) <= MAX_TEXT if options is None else value in options
