"""The question before a restart replaces frames that are recorded for this page only."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import viser
from viser import Icon
from viser._gui_handles import GuiModalHandle

from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.viewer.html import counted, note

if TYPE_CHECKING:
    from ttt3r_viewer.recording.writer import RecordingWriter

TITLE = "Restart: keep what is recorded?"


class RestartQuestion:
    """Asks the browser that wants a restart; with nothing to lose the run begins again at once."""

    def __init__(self, recorder: "RecordingWriter | None") -> None:
        self._recorder = recorder
        self._open: dict[int, tuple[GuiModalHandle, list[viser.GuiButtonHandle]]] = {}
        """By client, the question that may still be open with its answers."""

    def widget(self, identifier: str) -> Any:
        """Return the answer of this identifier, or None; from any thread."""
        answers = (one for _, buttons in list(self._open.values()) for one in buttons)
        return next((one for one in answers if one._impl.uuid == identifier), None)

    def before(self, client: viser.ClientHandle | None, begin: Callable[[], object]) -> None:
        """Call `begin`, on viser's loop, now or once the user has said what to do with frames that
        go with the program; never where they cancel.
        """
        recorder = self._recorder
        recording = None if recorder is None else recorder.recording
        if client is None or recorder is None or recording is None or not recorder.temporary:
            begin()
            return
        run, frames = recording.manifest.run, len(recording)
        self._close(client)
        modal = client.gui.add_modal(TITLE)

        async def save() -> None:
            try:
                folder = await asyncio.to_thread(recorder.keep, Path.cwd())
            except OutputError as error:
                client.add_notification("Not saved, not restarted", str(error), color="red")
                return
            line = f"{printable(str(folder))}; ttt3r-view open shows it again"
            client.add_notification("The recording is saved", line, auto_close_seconds=False)
            begin()

        async def replace() -> None:
            now = recorder.recording
            if now is not None and now.manifest.run != run:
                self.before(client, begin)  # another page was faster: these are other frames
                return
            recorder.forget(run)
            begin()

        async def cancel() -> None:
            """Change nothing."""

        with modal:
            line = f"{counted(frames, 'frame')} are recorded for this page only"
            client.gui.add_html(note("restart-question", f"{line}, and a restart replaces them."))
            where = f"In a new folder in {printable(str(Path.cwd()))}, with what follows"
            answers = [
                self._answer(client, "Save them and restart", Icon.DEVICE_FLOPPY, save, hint=where),
                self._answer(client, "Replace them", Icon.TRASH, replace, color="red"),
                self._answer(client, "Cancel", Icon.X, cancel, color="gray"),
            ]
        self._open[client.client_id] = (modal, answers)

    def _answer(
        self,
        client: viser.ClientHandle,
        label: str,
        icon: viser.IconName,
        act: Callable[[], Any],
        **options: Any,
    ) -> viser.GuiButtonHandle:
        button = client.gui.add_button(label, icon=icon, **options)

        @button.on_click
        async def _(_: object) -> None:
            self._close(client)
            await act()

        return button

    def _close(self, client: viser.ClientHandle) -> None:
        question = self._open.pop(client.client_id, None)
        if question is not None:
            question[0].close()
