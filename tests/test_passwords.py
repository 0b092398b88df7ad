"""Passwords in addresses never show, whatever stands in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_viewer.settings import Settings
from ttt3r_viewer.system.text import hide_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:pw@host:554/a?b=1", "rtsp://***@host:554/a?b=1"),
        ("rtsp://me@host/a", "rtsp://***@host/a"),
        ("rtsp://me:p@w/x?y#z@host/a", "rtsp://***@host/a"),
        ("http://host/a@2x.jpg", "http://host/a@2x.jpg"),
        ("http://host:80/a?User=me&pwd=pw&size=3", "http://host:80/a?User=***&pwd=***&size=3"),
        ("http://h/?access_token=pw#t", "http://h/?access_token=***"),
        ("error: two, http://a:b@c/ and udp://d:1", "error: two, http://***@c/ and udp://d:1"),
        ("a folder/with@sign:here", "a folder/with@sign:here"),
    ],
)
def test_what_is_shown_of_an_address(text, shown):
    assert hide_passwords(text) == shown
    assert hide_passwords(shown) == shown


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
def test_no_password_survives(password):
    marked = f"<{password}>"
    assert marked not in hide_passwords(f"rtsp://me:{marked}@host/path")


def test_recorded_settings_hold_no_password():
    settings = Settings(input="rtsp://me:pw@host/a", output="out")
    assert settings.input == "rtsp://me:pw@host/a"
    assert settings.as_dict()["input"] == "rtsp://***@host/a"
