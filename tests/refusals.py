"""Errors that are one line, as every error that a user can cause."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import ViewerError


def refusal(
    kind: type[ViewerError], call: Callable[..., object], *arguments: Any, match: str = ""
) -> str:
    """The text of the error that a call must raise; one line, in which `match` is found."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert re.search(match, text), text
    return text


def error_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that the command line says where it refuses these words."""
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    return error
