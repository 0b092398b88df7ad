"""Where the files that travel with the program are: the miniature's weights, its demo sequences."""

from __future__ import annotations

from pathlib import Path

from ttt3r_viewer.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def asset_path(name: str) -> Path:
    """The file or folder `name` of `assets/`, installed or in a checkout.

    A wheel carries it as `ttt3r_viewer/_assets`. Errors: `InputError` where it is in neither place.
    """
    places = (_PACKAGE / "_assets", _PACKAGE.parent / "assets")
    for place in places:
        if (place / name).exists():
            return place / name
    raise InputError(
        f"the program's own file {name} is in neither {places[0]} nor {places[1]}: install "
        "ttt3r-viewer again"
    )
