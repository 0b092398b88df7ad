"""The start screen: what can be shown, and the owner's choice of it.

Its page speaks JSON over a websocket of its own, behind the gate. Questions have a number, which
the answer repeats; what an upload has come to is told without one.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Response

from ttt3r_viewer.errors import InputError, ViewerError, in_a_line
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.viewer.server.access import Role
from ttt3r_viewer.viewer.server.responses import response, text_response
from ttt3r_viewer.viewer.server.uploads import Upload, UploadFolder

START_PATH = "/start"
START_PATHS = (START_PATH, "/start/socket")
"""The page and its websocket."""
PAGE = Path(__file__).with_name("start.html")
NOT_A_GUEST = "The owner of this page chooses what is shown: wait a moment."
MAX_MESSAGE_BYTES = 4 * 1024**2
"""Of what the page sends at once: it cuts files into pieces of 1 MiB."""
LONGEST_TEXT = 4096
"""Of a path, in characters."""


class Offers(Protocol):
    """What the start screen offers; its methods may take long, and are called from any thread."""

    def offer(self) -> Mapping[str, Any]:
        """Return all that the page lists, in JSON's types and images (height, width, 3) RGB."""
        ...

    def complete(self, text: str) -> list[str]:
        """Return paths that begin with a text and may be chosen."""
        ...

    def look_at(self, given: str) -> Mapping[str, Any]:
        """Return what an input is: as `offer` lists one. Raises `ViewerError`."""
        ...

    def choose(self, choice: Mapping[str, Any]) -> Any:
        """Return what has to be shown. Raises `ViewerError` where it cannot be."""
        ...


class StartScreen:
    """Answers the page, and keeps the choice until it is taken."""

    def __init__(self, offers: Offers, uploads: UploadFolder) -> None:
        self._offers, self._uploads = offers, uploads
        self._uploading = threading.Lock()
        self._choice: Any = None
        self.chosen = threading.Event()
        """Set while there is a choice."""
        self.trouble = ""
        """Why the latest choice could not be shown; empty where it could."""
        self.at_stake: Callable[[], str] = str
        """Returns what a new choice ends, in a line; empty where nothing is lost."""

    def take(self) -> Any:
        """Wait for a choice, and take it away."""
        self.chosen.wait()
        self.chosen.clear()
        self.trouble, self.at_stake = "", str
        return self._choice

    async def serve(self, browser: ServerConnection) -> None:
        """Answer one browser until it goes; an upload that is not whole by then is removed."""
        browser.protocol.max_message_size = MAX_MESSAGE_BYTES
        upload: Upload | None = None
        try:
            async for message in browser:
                try:
                    if isinstance(message, bytes):
                        upload, answer = await asyncio.to_thread(self._receive, upload, message)
                    else:
                        question = _question(message)
                        if question.get("ask") == "upload":
                            upload = await self._begin(upload, question)
                            answer: dict[str, Any] = {"ready": True}
                        else:
                            answer = await asyncio.to_thread(self._answer, question)
                        answer = {"id": question.get("id"), **answer}
                except ViewerError as error:
                    number = {} if isinstance(message, bytes) else {"id": _number_in(message)}
                    answer = {**number, "refused": in_a_line(error)}
                    if isinstance(message, bytes) and upload is not None:
                        self._end(upload)
                        upload = None
                await browser.send(json.dumps(answer, default=_plain))
        finally:
            if upload is not None:
                self._end(upload)

    async def _begin(self, upload: Upload | None, question: Mapping[str, Any]) -> Upload:
        if upload is not None or not self._uploading.acquire(blocking=False):
            raise InputError("another upload goes on: wait until it has ended")
        try:
            return await asyncio.to_thread(self._uploads.begin, question.get("files"))
        except BaseException:
            self._uploading.release()
            raise

    def _end(self, upload: Upload) -> None:
        upload.abort()
        self._uploading.release()

    def _receive(self, upload: Upload | None, data: bytes) -> tuple[Upload | None, dict[str, Any]]:
        """Keep a piece; the upload that goes on, and what to tell the browser."""
        if upload is None:
            raise InputError("bytes came, and nothing is being uploaded; drop it again")
        upload.write(data)
        if upload.received < upload.total:
            return upload, {"received": upload.received}
        path = upload.finish()
        self._uploading.release()
        return None, {"uploaded": str(path)}

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a question but for uploads. Raises `ViewerError`."""
        text = str(question.get("text", ""))[:LONGEST_TEXT]
        match question.get("ask"):
            case "offer":
                stake = {"trouble": self.trouble, "at_stake": self.at_stake()}
                return {**self._offers.offer(), **stake}
            case "complete":
                return {"paths": self._offers.complete(text)}
            case "look":
                return {"input": self._offers.look_at(text)}
            case "start":
                stake = self.at_stake()
                if stake and question.get("sure") is not True:
                    return {"at_stake": stake}
                self._choice = self._offers.choose(question)
                self.chosen.set()
                return {"started": True}
            case other:
                raise InputError(f"the page asked {printable(str(other)[:40])}: load it again")


def start_response(
    screen: StartScreen | None, path: str, role: Role, *, websocket: bool
) -> Response | None:
    """Respond to a request for the start screen, or for anything while nothing is shown yet; None
    opens the websocket. Guests are asked to wait.
    """
    if role == "guest":
        page = f'<!doctype html><meta http-equiv="refresh" content="3; url=/"><p>{NOT_A_GUEST}</p>'
        return response(403, page.encode(), {"Content-Type": "text/html; charset=utf-8"})
    if screen is None:
        return text_response(404, "There is nothing to choose from here.")
    if websocket:
        here = path == START_PATHS[1]
        return None if here else text_response(404, "There is no such websocket.")
    if path != START_PATH:
        return text_response(303, f"The page is at {START_PATH}.", {"Location": START_PATH})
    return response(200, PAGE.read_bytes(), {"Content-Type": "text/html; charset=utf-8"})


def _question(message: str) -> Mapping[str, Any]:
    try:
        question = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise InputError("a message that is no JSON came: load the page again") from error
    if not isinstance(question, dict):
        raise InputError("a message that is no question came: load the page again")
    return question


def _number_in(message: str) -> Any:
    try:
        return _question(message).get("id")
    except InputError:
        return None


def _plain(value: object) -> str:
    """Pack an image into an address of itself, for JSON."""
    from ttt3r_viewer.viewer.layers.maps import jpeg_url

    assert isinstance(value, np.ndarray)
    return jpeg_url(value)
