"""Allow-list of browser messages: each is checked before viser, which checks nothing, reads it.

viser would set any field of a widget to any value, buffer uploads without limit, and end a
connection's task at an unknown field. So whatever is not listed here is dropped.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
import viser
from msgspec import Meta

from ttt3r_viewer.viewer.server.access import Role

MAX_BYTES = 64 * 1024
"""Size limit of a browser's message; ours are below 1 kB."""
MAX_RENDER_BYTES = 50 * 1024 * 1024
"""Size limit of an image that the owner's browser renders; viser takes no more either."""
MAX_TEXT = 1000
"""Length limit of a text that a user types, in characters."""
MAX_NUMBER = 1e9
"""Limit of a number, also of a camera's coordinates in the scene's unit."""
NEAREST = 1e-6
"""Least distance of a camera's look-at point, as a share of the camera's distance from the origin.
viser fails at the next move of a camera that is nearer, and the page then fails for everybody."""
MAX_SIDE_PX = 65_536
MAX_SCREEN_POINTS = 64

Widgets = Callable[[str], Any]
"""Maps an identifier to viser's widget, or None."""

_Coordinate = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
_Vector = tuple[_Coordinate, _Coordinate, _Coordinate]
_Unit = Annotated[float, Meta(ge=-2.0, le=2.0)]
_Pixels = Annotated[float, Meta(ge=0, le=MAX_SIDE_PX)]  # a minimized browser window has none
_Point = tuple[_Coordinate, _Coordinate]

FIELDS: dict[str, dict[str, Any]] = {
    "ViewerCameraMessage": {
        "wxyz": tuple[_Unit, _Unit, _Unit, _Unit],
        "position": _Vector,
        "look_at": _Vector,
        "up_direction": _Vector,
        "fov": Annotated[float, Meta(gt=0, lt=math.pi)],
        "near": _Coordinate,
        "far": _Coordinate,
        "image_height": _Pixels,
        "image_width": _Pixels,
    },
    "GetRenderResponseMessage": {"payload": bytes, "render_uuid": str},
    "GuiUpdateMessage": {
        "uuid": str,
        "updates": Annotated[dict[Literal["value"], Any], Meta(min_length=1)],
    },
    "CommandTriggerMessage": {"uuid": str},
    "ScenePointerMessage": {
        "event_type": Literal["click"],
        "ray_origin": _Vector,
        "ray_direction": _Vector,
        "screen_pos": Annotated[list[_Point], Meta(min_length=1, max_length=MAX_SCREEN_POINTS)],
        "modifier": str | None,
    },
    "SceneNodeClickMessage": {
        "name": str,
        "instance_index": int | None,
        "ray_origin": _Vector,
        "ray_direction": _Vector,
        "screen_pos": _Point,
        "modifier": str | None,
        "owner": str,
    },
    "TransformControlsUpdateMessage": {
        "name": str,
        "wxyz": tuple[_Unit, _Unit, _Unit, _Unit],
        "position": _Vector,
        "owner": str,
    },
    "TransformControlsDragStartMessage": {"name": str, "owner": str},
    "TransformControlsDragEndMessage": {"name": str, "owner": str},
    "FileTransferPartAck": {
        "source_component_uuid": str | None,
        "transfer_uuid": str,
        "transferred_bytes": _Coordinate,
        "total_bytes": _Coordinate,
    },
}
"""The kinds of messages that our page sends, each with all its fields and their values."""
_KINDS = {kind: msgspec.defstruct(kind, fields.items()) for kind, fields in FIELDS.items()}
GUEST_KINDS = frozenset({"ViewerCameraMessage", "GuiUpdateMessage", "SceneNodeClickMessage"})
"""What looking around needs, and a guest's own widgets. The nodes that can be clicked are cameras,
to which the browser that clicked flies."""


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
    try:
        msgspec.convert(message, _KINDS[kind], builtin_types=(bytes,))
        valid = True
    except msgspec.ValidationError:
        valid = False
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
        any(message["wxyz"])
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
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(handle, viser.GuiSliderHandle):
            half_step = props.step / 2  # a browser rounds
            return props.min - half_step <= value <= props.max + half_step
        return -MAX_NUMBER <= value <= MAX_NUMBER
    if not isinstance(now, str) or not isinstance(value, str):
        return False
    options = getattr(props, "options", None)
    return len(value) <= MAX_TEXT if options is None else value in options
