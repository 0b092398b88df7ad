"""The page's small HTML, from which panels compose their texts; foreign text needs `escape`."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence

from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB, css_color

BAD = "#ff8787"
WARNING = "#e8910c"


def escape(text: str, limit: int = 600) -> str:
    """Make text of unknown origin safe inside HTML, and no longer than `limit` characters."""
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return html.escape(shortened, quote=True)


def block(test_id: str, content: str, *, size: str = "0.75em", style: str = "") -> str:
    """Wrap HTML in the panel's small type; `style` overrides what all blocks share."""
    return (
        f'<div data-testid="{test_id}" style="font-size:{size};line-height:1.5;padding:0 0.75em;'
        f'overflow-wrap:anywhere;{style}">{content}</div>'
    )


def muted(content: str) -> str:
    """Show HTML in a paler colour; nothing where there is none."""
    return f'<span style="opacity:.7">{content}</span>' if content else ""


def note(test_id: str, text: str) -> str:
    """Show plain text as a pale block."""
    return block(test_id, muted(escape(text)))


def colored(content: str, color: str) -> str:
    """Show HTML in a colour; nothing where there is none."""
    return f'<span style="color:{color}">{content}</span>' if content else ""


def lines(contents: Iterable[str]) -> str:
    """Stack the pieces of HTML that are not empty."""
    return "".join(f"<div>{content}</div>" for content in contents if content)


def lane_dot(lane: int) -> str:
    """Draw a dot in a lane's colour, before the lane's name."""
    return (
        '<span style="display:inline-block;width:0.7em;height:0.7em;border-radius:50%;'
        f'margin-right:0.5em;background:{css_color(LANE_COLORS[lane])}"></span>'
    )


def square(color: RGB) -> str:
    """Draw a square in a colour, as the legend of what has that colour elsewhere."""
    return colored("■", css_color(color))


def table(
    hints: Mapping[str, str],
    rows: Iterable[Iterable[str]],
    *,
    span: int = 1,
    align: str = "left",
) -> str:
    """Make a table as wide as the panel from its cells' HTML; the first of a row may be broken.

    Over each `span` columns stands a pale name with its hint; all but the first are aligned.
    """
    head = "".join(
        f'<th colspan="{span}" title="{escape(hint)}" style="text-align:{align if k else "left"};'
        f'font-weight:normal;opacity:.65;padding:0 0.3em">{name}</th>'
        for k, (name, hint) in enumerate(hints.items())
    )
    first = "text-align:left;overflow-wrap:anywhere;padding:0 0.3em"
    others = f"text-align:{align};white-space:nowrap;padding:0 0.3em"
    body = (
        "".join(f'<td style="{others if k else first}">{one}</td>' for k, one in enumerate(cells))
        for cells in rows
    )
    return (
        '<table style="width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums">'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(f'<tr>{cells}</tr>' for cells in body)}</tbody></table>"
    )


def explained(pieces: Sequence[tuple[str, str]], between: str = " ") -> str:
    """Write at most four pieces of HTML, each of which shows its explanation, plain text, below
    them all while it is pointed at or has the focus. Its place is kept, so that it covers nothing.
    """
    words = between.join(
        f'<abbr tabindex="0" class="ttt3r-word">{word}</abbr>' for word, _ in pieces
    )
    return f'{words}<div class="ttt3r-why">{lines(escape(why) for _, why in pieces)}</div>'


def browser_button(action: str, text: str, content: str = "") -> str:
    """Make a button that the browser's script acts on by itself: `copy` the content, `larger`."""
    data = f'data-ttt3r="{action}" data-content="{html.escape(content)}"'
    return f'<button type="button" class="ttt3r-button" {data}>{escape(text)}</button>'


DISMISS = (
    '<button class="ttt3r-button" data-ttt3r="dismiss" aria-label="Dismiss this notice" '
    'style="float:right;margin:0 0 0 0.6em;padding:0 0.5em">&times;</button>'
)


def box(test_id: str, rgb: str, text: str, *, title: str = "", dismissible: bool = False) -> str:
    """Put plain text below a bold title in a box with a bar in a colour (`red,green,blue`).

    One that a user has dismissed stays away from their browser.
    """
    style = (
        "margin:0.25em 0.75em 0.75em;padding:0.4em 0.75em;"
        f"border-left:4px solid rgb({rgb});border-radius:4px;background:rgba({rgb},.15)"
    )
    head = (DISMISS if dismissible else "") + (f"<b>{title}</b><br>" if title else "")
    return block(test_id, head + escape(text), size="0.8em", style=style)


def counted(number: int, noun: str) -> str:
    """Write a number before its noun, which takes an s unless there is one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def rounded(number: int) -> str:
    """Write a large number in two or three digits: 9,812, 85 k, 1.2 M."""
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1e3:.0f} k" if number < 999_500 else f"{number / 1e6:.1f} M"


def probe(state: dict[str, object]) -> str:
    """Wrap a state as JSON in an element that is not displayed, for programs that read the page."""
    text = html.escape(json.dumps(state))
    return f'<pre data-testid="probe" style="display:none">{text}</pre>'
