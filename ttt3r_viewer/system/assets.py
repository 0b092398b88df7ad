"""Where the files that travel with the program are: the miniature's weights, its demo sequences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.system import compare_demo

DEMOS = ("loop", "walk", "hand-held")
"""Demo sequences by name; the first is what is shown where no input is given."""
DEMO_NAMES = (*DEMOS, compare_demo.NAME)
"""Those and the comparison, which is made on one of them."""
DEMO_PREFIX = "demo:"
DEFAULT_DEMO = DEMO_PREFIX + DEMOS[0]
_PACKAGE = Path(__file__).resolve().parents[1]


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


def demo_path(name: str = DEMOS[0]) -> Path:
    """The folder of a demo sequence. Errors: `InputError` for a name that is none."""
    if name not in DEMO_NAMES:
        raise InputError(f"there is no demo {name!r}; there are: {', '.join(DEMO_NAMES)}")
    return asset_path("demo") / (compare_demo.SEQUENCE if name == compare_demo.NAME else name)


def is_comparison(given: str | None) -> bool:
    """Whether the input that was given is the demo that compares."""
    return given == DEMO_PREFIX + compare_demo.NAME


def is_own_comparison(run: Mapping[str, Any]) -> bool:
    """Whether a run's settings by name are that demo's own, of which alone its notice is true."""
    own = {"start": 0, "stride": 1, "weights": "miniature", **compare_demo.DEFAULTS}
    return is_comparison(run.get("input")) and all(run.get(k) == own[k] for k in own)


def with_demos(given: str | None) -> str:
    """The input that was given, a demo's folder where it is none or `demo:NAME`.

    Errors: `InputError` for a demo that there is not.
    """
    if given is None:
        return str(demo_path())
    if given.startswith(DEMO_PREFIX):
        return str(demo_path(given.removeprefix(DEMO_PREFIX)))
    return given
