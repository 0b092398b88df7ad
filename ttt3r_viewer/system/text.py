"""Text that may be shown, logged or written: without passwords, and printable."""

import re

HIDDEN = "***"


class Unmasked(str):
    """A line whose secret the user needs: the link to their own page."""

    __slots__ = ()


_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>\S*)")
_SECRET_NAME = "user|usr|login|pass|pwd|token|key|secret|auth|sig|cred"
_SECRET_VALUE = re.compile(rf"(?P<name>[?&;][^=&;\s]*(?:{_SECRET_NAME})[^=&;\s]*=)[^&;\s]*", re.I)


def hide_passwords(text: str) -> str:
    """Put *** for the user and password of every address in a text, and for what follows a name
    such as `token=` or `pwd=` in its query.

    A password may hold `@`, `/`, `?` or `#` although none of them should stand there unescaped:
    rather too much is hidden than too little.
    """
    return _ADDRESS.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    rest = match["rest"]
    _, at, after = rest.rpartition("@")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # Where neither `@` nor `:` comes before the path, an `@` further on belongs to the path.
    if at and ("@" in host or ":" in host):
        rest = f"{HIDDEN}@{after}"
    return match["scheme"] + _SECRET_VALUE.sub(rf"\g<name>{HIDDEN}", rest)


_CONTROL_CODES = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"
}


def printable(text: str) -> str:
    """The text with bytes that are no UTF-8 (of a file name, say) written out as \\udcXX, and what
    controls a terminal as \\x1b and the like.
    """
    return text.encode("utf-8", "backslashreplace").decode().translate(_CONTROL_CODES)
