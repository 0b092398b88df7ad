"""The lanes' colours, wherever lanes are told apart: on the page, in plots and in films."""

RGB = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

# From the set of Okabe and Ito, which people with any of the common colour blindnesses tell apart.
LANE_COLORS: tuple[RGB, ...] = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167))
"""Sky blue, orange, bluish green, reddish purple: the colour of each lane wherever it is shown."""


def css_color(color: RGB) -> str:
    """Write a colour as style sheets do."""
    return f"rgb{color}"
