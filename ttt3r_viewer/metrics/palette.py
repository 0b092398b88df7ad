"""The lanes' colours, wherever lanes are told apart: on the page, in plots and in films."""

RGB = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

LANE_COLORS: tuple[RGB, ...] = ((86, 180, 233), (232, 136, 0), (8, 120, 80), (204, 121, 167))
"""Sky blue, orange, green, reddish purple: the colour of each lane wherever it is shown.

People with any of the common colour blindnesses tell them from each other and from the colour maps:
the set of Okabe and Ito, two of them moved away from those maps (tests/test_color_blind.py).
"""


def css_color(color: RGB) -> str:
    """Write a colour as style sheets do."""
    return f"rgb{color}"
