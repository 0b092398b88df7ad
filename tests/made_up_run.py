"""A made-up run for tests of the scene and the page: a camera that flies through a painted room."""

import threading
from dataclasses import replace
from queue import Empty

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer import types
from ttt3r_viewer.geometry import pose_from_vector, transform_points
from ttt3r_viewer.reconstruct import messages
from ttt3r_viewer.scene.store import SceneStore

ROOM_LOW = np.array([-2.0, -1.6, -1.5])
ROOM_HIGH = np.array([2.0, 1.0, 4.0])
WALL_COLORS = np.array([[196, 78, 82], [221, 187, 120], [76, 114, 176]], dtype=np.float64)


MADE_UP_RULES = ("steady", "drifting")
"""Rules that a lane of a made-up run can have; both have the one parameter `rate`."""


def rule_info(name: str, rate: float) -> types.RuleInfo:
    """Describe a made-up rule as the worker describes a real one."""
    parameter = types.ParameterInfo("rate", rate, 1.0, 0.0, 1.0, "Share of the new state")
    return types.RuleInfo(name, name.capitalize(), f"{name}, rate {rate:g}", (parameter,))


def read_rule(text: str) -> types.RuleInfo:
    """Read `name` or `name:rate`, as `--rules` has them."""
    name, _, rate = text.partition(":")
    return rule_info(name, float(rate) if rate else 1.0)


def drifted(T_world_camera: NDArray[np.float64], drift: float) -> NDArray[np.float64]:
    """Turn a pose about the world's y axis by so many radians and move it as many units aside."""
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(drift)
    turn[0, 2], turn[2, 0] = np.sin(drift), -np.sin(drift)
    turn[:3, 3] = 1.5 * drift * np.array([1.0, -0.3, 0.5])
    return turn @ T_world_camera


def look_at(position_world: ArrayLike, target_world: ArrayLike) -> NDArray[np.float64]:
    """Give `T_world_camera` (4, 4) of an upright OpenCV camera; the world's up is -y."""
    position = np.asarray(position_world, dtype=np.float64)
    forward = np.asarray(target_world, dtype=np.float64) - position
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T_world_camera[:3, 3] = position
    return T_world_camera


def pose_at(sequence: int, turn: int = 120) -> NDArray[np.float64]:
    """Give the pose of a frame: the identity at first, then once round in `turn` frames."""
    angle = 2 * np.pi * sequence / turn
    position = [0.9 * np.sin(angle), 0.15 * np.sin(3 * angle), 1.2 - 1.2 * np.cos(angle)]
    target = np.add(position, [np.sin(0.6 * np.sin(angle)), 0.0, np.cos(0.6 * np.sin(angle))])
    return look_at(position, target)


def room_result(
    sequence: int,
    width: int = 64,
    height: int = 48,
    *,
    epoch: int = 0,
    camera: types.Camera | None = None,
) -> types.FrameResult:
    """Cast a ray through every pixel of a frame: walls with tiles, less sure the farther away."""
    camera = camera or types.Camera(pose_at(sequence), 0.8 * width, width, height)
    focal_px = camera.focal_px
    y, x = np.mgrid[:height, :width]
    rays = np.stack(
        [(x - width // 2) / focal_px, (y - height // 2) / focal_px, np.ones(x.shape)], -1
    )
    rays_world = rays @ camera.T_world_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = np.where(rays_world > 0, ROOM_HIGH, ROOM_LOW)
        depths = (walls - camera.T_world_camera[:3, 3]) / rays_world
    depths[~np.isfinite(depths)] = np.inf
    depth, axis = depths.min(-1), depths.argmin(-1)
    points_camera = rays * depth[..., None]
    tiles = np.floor(transform_points(camera.T_world_camera, points_camera) * 2 + 1e-6).sum(-1) % 2
    image = WALL_COLORS[axis] * (1.0 - 0.3 * tiles[..., None]) * (1.0 - 0.06 * depth[..., None])
    return types.FrameResult(
        sequence=sequence,
        index=sequence,
        time_sec=sequence / 30,
        name=f"room_{epoch}_{sequence:04d}.png",
        image=image.clip(0, 255).astype(np.uint8),
        crop=types.Crop((1.0, 1.0), (0, 0), image.shape[1], image.shape[0]),
        points_camera=points_camera.astype(np.float32),
        confidence=(1.0 + 4.0 / (0.2 + depth)).astype(np.float32),
        camera=camera,
        gain=np.full(16, 0.5, np.float32),
        segment=0,
        compute_sec=0.01,
    )


def made_up_inspection(
    epoch: int, lane: int, sequence: int, gain: NDArray[np.floating], *, layers: int = 2
) -> types.Inspection:
    """Look into a frame of a made-up run: 3 x 4 patches, and token k looks at patch k mod 12."""
    rows, columns, state = 3, 4, len(gain)
    patches = rows * columns
    random = np.random.default_rng([lane, sequence])
    writes = 0.1 * random.random((layers, state, 1 + patches))
    reads = 0.1 * random.random((layers, 1 + patches, state))
    for layer in range(layers):
        for token in range(state):
            patch = (token + layer) % patches
            writes[layer, token, 1 + patch] = reads[layer, 1 + patch, token] = 2.0
    logit = np.linspace(-1.0, 1.0, patches)
    return types.Inspection(
        epoch=epoch,
        lane=lane,
        sequence=sequence,
        rows=rows,
        columns=columns,
        state_columns=4,
        gain=gain.astype(np.float32),
        state_logit=random.normal(size=state).astype(np.float32),
        state_change=random.random(state).astype(np.float32),
        from_start=(1 + random.random(state)).astype(np.float32),
        patch_logit=logit.astype(np.float32),
        writes=(writes / writes.sum(-1, keepdims=True)).astype(np.float16),
        reads=(reads / reads.sum(-1, keepdims=True)).astype(np.float16),
        frames_replayed=sequence % 2,
    )


class MadeUpRun:
    """Stands in for the worker: a thread that handles messages and adds frames to the store."""

    def __init__(
        self,
        store: SceneStore,
        *,
        lanes: int = 1,
        total: int | None = 30,
        frames_per_second: float = 20.0,
        width: int = 16,
        height: int = 12,
        paused: bool = False,
    ) -> None:
        self.store = store
        self.mailbox = messages.Mailbox()
        self.seen_commands: list[messages.Message] = []
        self._size = (width, height)
        self._pause_sec = 1 / frames_per_second
        self._epoch = 0
        self._status = types.Status(
            phase="paused" if paused else "running",
            model="made-up",
            rule="none",
            device="cpu",
            frames_total=total,
            frames_per_second=frames_per_second,
            lanes=tuple(rule_info(MADE_UP_RULES[k > 0], 1 - 0.2 * k) for k in range(lanes)),
            known_rules=tuple(rule_info(name, 1.0) for name in MADE_UP_RULES),
            cannot_ask="",
        )
        if lanes != len(store.snapshot().lanes):
            store.clear(lanes)
        store.set_status(self._status)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to add frames."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self.mailbox.put(messages.Stop())
        if self._thread.is_alive():
            self._thread.join(5)

    @property
    def frames_done(self) -> int:
        """How many frames were added since the last restart."""
        return self._status.frames_done

    def echo(self, **fields: object) -> None:
        """Replace fields of the status, as the worker does when something happens."""
        self._status = replace(self._status, **fields)  # pyright: ignore[reportArgumentType]
        self.store.set_status(self._status)

    def gone(self, frames: int) -> "MadeUpRun":
        """Itself, so many frames further."""
        for _ in range(frames):
            self.add_frame()
        return self

    def add_frame(self) -> None:
        """Add the next frame, and finish after the last."""
        done = self._status.frames_done
        room = room_result(done, *self._size, epoch=self._epoch)
        lanes = enumerate(self._status.lanes)
        self.store.add(*(self._result_of(lane, rule, room) for lane, rule in lanes))
        last = done + 1 == self._status.frames_total
        self.echo(frames_done=done + 1, phase="finished" if last else self._status.phase)

    def _result_of(
        self, lane: int, rule: types.RuleInfo, room: types.FrameResult
    ) -> types.FrameResult:
        """Give what a lane makes of a frame: later lanes drift away from the room."""
        reset_every, rate = self._status.reset_every, rule.parameters[0].value
        pose = drifted(room.camera.T_world_camera, 0.01 * lane * room.sequence)
        return replace(
            room,
            camera=replace(room.camera, T_world_camera=pose),
            gain=np.linspace(0.5, 1.0, len(room.gain), dtype=np.float32) * rate,
            state_change=0.1 * rate / (1 + 0.1 * room.sequence),
            segment=room.sequence // reset_every if reset_every else 0,
            rule=rule.text,
            reset_every=reset_every,
        )

    def _begin_again(self, lanes: tuple[types.RuleInfo, ...]) -> None:
        self._epoch += 1
        self._status = replace(
            self._status, phase="running", frames_done=0, message="", lanes=lanes
        )
        self.store.clear(len(lanes), self._status)

    def _set_parameter(self, command: messages.SetParameter) -> None:
        lanes = list(self._status.lanes)
        lanes[command.lane] = rule_info(lanes[command.lane].name, command.value)
        self.echo(lanes=tuple(lanes))

    def _look_into(self, question: messages.Inspect) -> None:
        scene = self.store.snapshot()
        if question.sequence >= len(scene.frames):
            return  # asked before a restart
        gain = scene.lanes[question.lane].frames[question.sequence].gain
        found = made_up_inspection(scene.epoch, question.lane, question.sequence, gain)
        self.store.set_inspection(found, "")

    def _ask(self, question: messages.Query) -> None:
        """Answer with the room itself, as every lane would remember it perfectly."""
        scene, (width, height) = self.store.snapshot(), self._size
        focal_px = height / 2 / np.tan(question.fov_y_rad / 2)
        camera = types.Camera(pose_from_vector(question.pose), focal_px, width, height)
        done = self.frames_done - 1
        if done < 0:
            self.store.set_answer(types.Answer(question.number, (), "no frame was taken yet"))
            return
        room = room_result(done, width, height, camera=camera)
        numbers = (camera, room.image, room.points_camera, room.confidence, scene.epoch)
        lanes = tuple(types.Expectation(lane, done, *numbers) for lane in range(len(scene.lanes)))
        self.store.set_answer(types.Answer(question.number, lanes))

    def _run(self) -> None:
        while True:
            try:
                command = self.mailbox.get(timeout=self._pause_sec)
            except Empty:
                if self._status.phase == "running":
                    self.add_frame()
                continue
            self.seen_commands.append(command)
            match command:
                case messages.Stop():
                    return
                case messages.Play():
                    self.echo(phase="running")
                case messages.Pause():
                    self.echo(phase="paused")
                case messages.Inspect():
                    self._look_into(command)
                case messages.Query():
                    self._ask(command)
                case messages.Step():
                    self.add_frame()
                    self.echo(phase="paused")
                case messages.Restart():
                    self._begin_again(self._status.lanes)
                case messages.SetRules(rules):
                    self._begin_again(tuple(map(read_rule, rules)))
                case messages.SetParameter():
                    self._set_parameter(command)
                case messages.SetBudget(max_points):
                    self.store.set_budget(max_points)
                case messages.SetResetEvery(frames):
                    self.echo(reset_every=frames)
