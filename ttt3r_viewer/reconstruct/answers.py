"""Questions to the reconstruction: the latest of each kind is answered, between two frames."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import ViewerError, in_a_line
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.reconstruct.messages import Inspect, Query
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import Answer, Expectation, Inspection

log = logging.getLogger(__name__)


class Answers(Protocol):
    """What is needed of `Lanes`."""

    def inspect(
        self, lane: int, sequence: int, on_progress: Callable[[int, int], object] | None = None
    ) -> Inspection:
        """Look into one lane's step; `tell` hears how many of how many frames are done."""
        ...

    def ask(self, T_world_camera: NDArray[np.float64], fov_y_rad: float) -> tuple[Expectation, ...]:
        """What every lane's state expects a camera to see."""
        ...


class Questions:
    """The latest question of each kind, until it is answered into the scene.

    What goes wrong is said in place of an answer, and the run goes on.
    """

    def __init__(self, store: SceneStore) -> None:
        self._store = store
        self._inspect: Inspect | None = None
        self._query: Query | None = None

    def put(self, question: Inspect | Query) -> None:
        """Take a question; one of its kind that waits is given up."""
        if isinstance(question, Query):
            self._query = question
        else:
            self._inspect = question

    def answer(self, session: Answers | None) -> None:
        """Answer what waits; without a session, as before the network is loaded, nothing can be."""
        inspect, self._inspect = self._inspect, None
        query, self._query = self._query, None
        if inspect is not None and session is not None:
            self._look_into(session, inspect)
        if query is not None and session is not None:
            self._store.set_answer(self._ask(session, query))

    def _look_into(self, session: Answers, question: Inspect) -> None:
        def on_progress(done: int, total: int) -> None:
            self._store.set_inspection(None, f"taking frames again: {done} of {total}")

        try:
            found = session.inspect(question.lane, question.sequence, on_progress)
        except Exception as error:
            if not isinstance(error, ViewerError):
                log.exception("the frame could not be looked into")
            self._store.set_inspection(None, reason(error))
        else:
            epoch = self._store.snapshot().epoch
            self._store.set_inspection(replace(found, epoch=epoch), "")

    def _ask(self, session: Answers, question: Query) -> Answer:
        try:
            found = session.ask(pose_from_vector(question.pose), question.fov_y_rad)
        except Exception as error:
            if not isinstance(error, ViewerError):
                log.exception("the states could not be asked")
            return Answer(question.number, note=reason(error))
        epoch = self._store.snapshot().epoch
        return Answer(question.number, tuple(replace(one, epoch=epoch) for one in found))


def reason(error: Exception) -> str:
    """Say in a line why there is no answer."""
    return printable(in_a_line(error))
