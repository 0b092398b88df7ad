"""The widget of one parameter of a rule, which shows what is in force and what a user chose."""

import math
import time
from collections.abc import Callable
from typing import Any

import viser

from ttt3r_viewer.types import ParameterInfo
from ttt3r_viewer.viewer.widgets import assign_changed, bind

WIDEST_SLIDER = 1000.0
SLIDER_STEPS = 100


def widget_options(info: ParameterInfo) -> tuple[bool, dict[str, Any]]:
    """Return whether a parameter is shown as a slider, and viser's options of its range.

    Where the range is too wide for a slider, it is a number box, whose limits may be None. The step
    is round, and reaches the lower limit.
    """
    slider = 0 < info.high - info.low <= WIDEST_SLIDER
    step = 1.0 if info.whole else 0.01
    if slider and not info.whole:
        step = _round_step((info.high - info.low) / SLIDER_STEPS, info.low)
    number = round if info.whole else float
    options = {"min": info.low, "max": info.high, "step": step}
    return slider, {
        name: number(value) if math.isfinite(value) else None for name, value in options.items()
    }


def _round_step(most: float, low: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten up to `most` that divides `low`."""
    exponent = math.floor(math.log10(most))
    steps = [float(f"{digit}e{exponent - k}") for k in range(3) for digit in (5, 2, 1)]
    fitting = [step for step in steps if step <= most * (1 + 1e-9)]
    exact = (step for step in fitting if abs(low / step - round(low / step)) < 1e-6)
    return next(exact, fitting[0])


class ParameterRow:
    """The widget of one parameter; `send` is given the value that a user chose."""

    def __init__(
        self, gui: viser.GuiApi, info: ParameterInfo, send: Callable[[float], None]
    ) -> None:
        self._send = send
        self._chosen = (info.value, -math.inf)
        """The value that a user chose, and when (`time.monotonic`)."""
        slider, options = widget_options(info)
        self._number = round if info.whole else float
        # A recording may say anything, and a slider takes no value out of its range.
        value = self._number(min(max(info.value, info.low), info.high))
        add = gui.add_slider if slider else gui.add_number
        self._handle = add(info.name, initial_value=value, hint=info.help, **options)
        self._known = self._handle.value
        bind(self._handle, self._choose)

    def _choose(self, value: float) -> None:
        self._chosen = (value, time.monotonic())
        self._known = self._handle.value
        self._send(float(value))

    @property
    def value(self) -> float:
        """What the widget shows."""
        return float(self._handle.value)

    def follow(self, info: ParameterInfo, now_sec: float, hold_sec: float) -> None:
        """Show the value in force, unless a user's own is still on its way."""
        value, chosen_sec = self._chosen
        if self._handle.value != self._known:
            return  # The callback of a newer value is about to run.
        if value != info.value and now_sec - chosen_sec < hold_sec:
            return
        self._known = self._number(info.value)
        assign_changed(self._handle, value=self._known)
