"""The procedural rooms: seeds decide, depth and poses agree, cameras keep out of things."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.synthetic import scenes, surfaces, textures
from ttt3r_viewer.synthetic.raycast import FIRST, OBJECTS, exit_of_spaces, hits, nearest_surface
from ttt3r_viewer.synthetic.rooms import KINDS, Room
from ttt3r_viewer.synthetic.scenes import Clip, draw_worlds, render_clips, render_worlds
from ttt3r_viewer.synthetic.trajectories import MIN_CLEARANCE, MOTIONS

HEIGHT, WIDTH = 48, 64
SEEDS = (3, 14, 15, 92, 65, 35)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Six sequences of five frames."""
    return render_clips(SEEDS, 5, HEIGHT, WIDTH, device="cpu")


def points_camera(clip: Clip, sequence: int, frame: int) -> Tensor:
    """Camera-frame points of one frame by the stated pinhole convention; (height, width, 3)."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    focal, depth = clip.focal_px[sequence], clip.depth[sequence, frame]
    x = (columns - WIDTH // 2) / focal * depth
    y = (rows - HEIGHT // 2) / focal * depth
    return torch.stack([x, y, depth], dim=-1)


def turns_deg(T_room_camera: np.ndarray) -> np.ndarray:
    """Turns from each frame to the next; (..., frames, 4, 4) -> (..., frames - 1)."""
    R = T_room_camera[..., :3, :3]
    relative = R[..., :-1, :, :].swapaxes(-1, -2) @ R[..., 1:, :, :]
    cosine = (np.trace(relative, axis1=-2, axis2=-1) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def axes(x: float, y: float, z: float) -> tuple[Tensor, Tensor, Tensor]:
    """The origin or the direction of one ray."""
    return torch.full((1, 1), float(x)), torch.full((1, 1), float(y)), torch.full((1, 1), float(z))


def test_shapes_and_ranges(clip):
    assert clip.images.shape == (len(SEEDS), 5, HEIGHT, WIDTH, 3)
    assert clip.images.dtype == torch.float32
    assert clip.images.min() >= 0
    assert clip.images.max() <= 1
    assert clip.depth.shape == (len(SEEDS), 5, HEIGHT, WIDTH)
    assert torch.isfinite(clip.depth).all()
    assert clip.depth.min() > 0.1
    assert clip.depth.max() < 25
    fov_x_rad = 2 * torch.atan(WIDTH / 2 / clip.focal_px)
    assert (fov_x_rad >= np.radians(45) - 1e-4).all()
    assert (fov_x_rad <= np.radians(90) + 1e-4).all()


def test_images_differ_and_show_something(clip):
    first = clip.images[:, 0]
    assert (first.flatten(1).std(dim=1) > 0.03).all()
    for a in range(len(SEEDS)):
        for b in range(a):
            assert (first[a] - first[b]).abs().mean() > 0.05


def test_world_is_first_camera_and_rotations_are_rotations(clip):
    eye = torch.eye(4).expand(len(SEEDS), 4, 4)
    torch.testing.assert_close(clip.T_world_camera[:, 0], eye)
    R = clip.T_world_camera[..., :3, :3].double()
    torch.testing.assert_close(
        R @ R.transpose(-1, -2), torch.eye(3).double().expand_as(R), atol=1e-5, rtol=0
    )
    assert (torch.linalg.det(R) > 0.99).all()


def test_depth_and_poses_agree_between_frames():
    """What frame 0 sees lies on the surfaces that frame 4 sees, but for what is hidden."""
    clip = render_clips(range(20, 32), 5, HEIGHT, WIDTH, device="cpu", step_scale=0.5)
    compared = 0
    for sequence in range(12):
        T = torch.linalg.inv(clip.T_world_camera[sequence, 4])
        points = points_camera(clip, sequence, 0) @ T[:3, :3].T + T[:3, 3]
        z = points[..., 2]
        focal = clip.focal_px[sequence]
        column = points[..., 0] / z * focal + WIDTH // 2
        row = points[..., 1] / z * focal + HEIGHT // 2
        inside = (z > 0) & (column >= 0) & (column <= WIDTH - 1) & (row >= 0) & (row <= HEIGHT - 1)
        place = torch.stack([column / (WIDTH - 1), row / (HEIGHT - 1)], dim=-1) * 2 - 1
        # Inverse depth is linear in the picture on a plane, so bilinear reading is exact there.
        seen = 1 / torch.nn.functional.grid_sample(
            1 / clip.depth[sequence, 4][None, None], place[None], align_corners=True
        )
        error = ((seen[0, 0] - z) / z)[inside].abs()
        compared += len(error)
        if len(error) > 200:
            assert (error < 2e-4).float().mean() > 0.6
            assert error.median() < 5e-5
    assert compared > 12 * HEIGHT * WIDTH / 3


def test_seed_decides_whatever_else_is_in_the_batch(clip):
    again = render_clips(SEEDS, 5, HEIGHT, WIDTH, device="cpu")
    assert torch.equal(clip.images, again.images)
    alone = render_clips([SEEDS[4]], 5, HEIGHT, WIDTH, device="cpu")
    torch.testing.assert_close(alone.depth[0], clip.depth[4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.T_world_camera[0], clip.T_world_camera[4])
    assert (alone.images[0] - clip.images[4]).abs().mean() < 1e-4


@pytest.mark.parametrize("motion", MOTIONS)
def test_longer_sequence_begins_with_the_shorter(motion):
    short = draw_worlds(range(8), 6, motion=motion)
    long = draw_worlds(range(8), 150, motion=motion)
    assert np.abs(long.T_room_camera[:, :6] - short.T_room_camera).max() < 1e-9
    assert np.array_equal(long.sensor[:, :6], short.sensor)


def test_stride_picks_places_of_the_same_path():
    whole = draw_worlds(range(10), 31)
    strided = draw_worlds(range(10), 7, stride=5)
    assert np.abs(whole.T_room_camera[:, ::5] - strided.T_room_camera).max() < 1e-9


@pytest.mark.parametrize("motion", MOTIONS)
def test_cameras_keep_clear_and_move_within_bounds(motion):
    worlds = draw_worlds(range(100, 112), 200, motion=motion)
    for seed, T_room_camera in zip(range(100, 112), worlds.T_room_camera, strict=True):
        room = scenes.room_of(seed)
        assert room.clearance(T_room_camera[:, :3, 3]).min() > MIN_CLEARANCE - 0.02
        step_m = np.linalg.norm(np.diff(T_room_camera[:, :3, 3], axis=0), axis=1)
        assert step_m.max() < 0.16
        assert turns_deg(T_room_camera).max() < 8
        assert step_m.max() > 1e-4


def test_step_scale_scales_the_motion():
    def travelled(step_scale: float) -> float:
        T = draw_worlds(range(12), 12, motion="walk", step_scale=step_scale).T_room_camera
        return float(np.linalg.norm(np.diff(T[:, :, :3, 3], axis=1), axis=-1).sum())

    assert travelled(0.25) < 0.4 * travelled(1.0)


def test_cameras_are_on_their_way_from_the_first_frame():
    turn_deg = turns_deg(draw_worlds(range(200, 240), 120).T_room_camera)
    early, late = (np.median(part.mean(axis=1)) for part in (turn_deg[:, :15], turn_deg[:, 60:]))
    assert 0.7 < early / late < 1.4


def test_sequences_begin_with_a_view_of_the_room():
    clip = render_clips(range(300, 348), 1, HEIGHT, WIDTH, device="cpu")
    middle_m = clip.depth[:, 0, HEIGHT // 3 : HEIGHT // 2].flatten(1).median(dim=1).values
    assert middle_m.median() > 2.5
    assert (middle_m > 1.0).float().mean() > 0.9


def test_the_skirting_lies_along_the_foot_of_walls_alone():
    worlds = draw_worlds(range(400, 412), 2)

    def rendered(height_m: float) -> Clip:
        skirting = np.array([[height_m, 0.9, 0.2, 0.5]] * 12, np.float32)
        other = dataclasses.replace(worlds, skirting=skirting)
        return render_worlds(other, HEIGHT, WIDTH, device="cpu")

    plain, pink = rendered(-1.0), rendered(0.1)
    assert torch.equal(plain.depth, pink.depth)
    changed = ((plain.images - pink.images).abs().amax(dim=-1) > 0.2).flatten(0, 1)
    assert 0.0005 < changed.float().mean() < 0.2
    T_room_camera = torch.from_numpy(worlds.T_room_camera).float().flatten(0, 1)
    heights_m = [
        (points_camera(pink, frame // 2, frame % 2) @ T[:3, :3].T + T[:3, 3])[changed[frame]][:, 2]
        for frame, T in enumerate(T_room_camera)
    ]
    # A pixel at 6 m covers some 12 cm here.
    assert torch.cat(heights_m).max() < 0.25


def test_loops_return():
    worlds = draw_worlds(range(6), 1000, motion="loop")
    for T_room_camera in worlds.T_room_camera:
        away = np.linalg.norm(T_room_camera[:, :3, 3] - T_room_camera[0, :3, 3], axis=1)
        left = int(np.argmax(away > 0.5 * away.max()))
        assert away[left:].min() < 0.3


def test_some_walks_pass_doorways():
    passed = 0
    worlds = draw_worlds(range(40), 300, motion="walk")
    for seed, T_room_camera in zip(range(40), worlds.T_room_camera, strict=True):
        room, place = scenes.room_of(seed), T_room_camera[:, :3, 3]
        for door in room.doors:
            inner = (place[:, :2] > door.low[:2]) & (place[:, :2] < door.high[:2])
            passed += bool(inner.all(axis=1).any())
    assert passed >= 5


def test_unknown_motion_lists_the_known():
    with pytest.raises(SettingsError, match=r"'hop'.*hand-held, orbit, walk, look-around, loop"):
        draw_worlds([1], 2, motion="hop")


def numbers_of(wardrobe):
    return np.concatenate(list(wardrobe.values()))


def test_seed_ranges_and_textures_never_meet():
    ranges = (scenes.TEST_SEEDS, scenes.VALIDATION_SEEDS, scenes.TRAIN_SEEDS)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))
    train = draw_worlds([scenes.TRAIN_SEEDS.start, scenes.TRAIN_SEEDS.start + 7], 1).materials
    other = draw_worlds([0, scenes.VALIDATION_SEEDS.start], 1).materials
    trained, held_out = numbers_of(textures.TRAINED), numbers_of(textures.HELD_OUT)
    exists = np.isin(train[..., :2], trained) | (train[..., 20:21] == 0)
    assert exists.all()
    assert (np.isin(other[..., :2], held_out) | (other[..., 20:21] == 0)).all()
    assert not np.isin(held_out, trained).any()


def walk_to_surface(room: Room, origin: np.ndarray, direction: np.ndarray) -> float:
    """Distance along a unit direction by sphere tracing on the room's clearance."""
    reach = 0.0
    for _ in range(4000):
        gap = float(room.clearance((origin + reach * direction)[None])[0])
        if gap < 1e-5:
            break
        reach += gap
    return reach


def test_ray_casting_agrees_with_sphere_tracing():
    """Two independent ways to the first surface: closed forms in torch, and steps in numpy."""
    rng = np.random.default_rng(5)
    checked = 0
    for seed in range(24):
        room = scenes.room_of(seed)
        worlds = draw_worlds([seed], 1)
        origin = worlds.T_room_camera[0, 0, :3, 3]
        directions = rng.normal(size=(12, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        solids = {}
        for kind, first in FIRST.items():
            rows = torch.from_numpy(getattr(worlds, kind))
            numbers = torch.arange(first, first + rows.shape[1], dtype=torch.int32)
            solids[kind] = (rows, numbers[None])
        rays = torch.from_numpy(directions.T.copy()).float()[:, None]
        depth, owner = nearest_surface(
            torch.from_numpy(worlds.spaces),
            torch.from_numpy(worlds.ceiling),
            solids,
            axes(*origin),
            (rays[0], rays[1], rays[2]),
        )
        assert (owner < OBJECTS).all()
        for ray in range(12):
            # Clearance only bounds the distance from below where boxes overlap, so steps get
            # small at such seams; those rays are left out by asking both ways to be near a surface.
            reach = walk_to_surface(room, origin, directions[ray])
            found = float(depth[0, ray])
            beyond = room.clearance((origin + (found + 5e-3) * directions[ray])[None])[0]
            if beyond < 0:
                checked += 1
                assert reach <= found + 1e-3
                inner = origin + np.linspace(0, found - 2e-3, 200)[:, None] * directions[ray]
                assert room.clearance(inner).min() > -1e-3
    assert checked > 200


def test_rays_pass_doorways():
    spaces = torch.tensor(
        [[[0.0, 0, 0, 2, 2, 2], [1.5, 0.5, 0, 2.7, 1.5, 1.8], [2.2, 0, 0, 5, 2, 2]]]
    )
    level, slope = torch.tensor([[0.0, 0, 0, 1]]), torch.tensor([[0.0, 0, 1, 1.6]])
    for ceiling, origin, direction, way in (
        (level, (1, 1, 1), (1, 0, 0), 4.0),
        (level, (4, 1, 1), (-1, 0, 0), 4.0),
        (level, (1, 0.2, 1), (1, 0, 0), 1.0),
        (slope, (1, 1, 1), (0, 0, 1), 0.6),
    ):
        found = exit_of_spaces(spaces, ceiling, axes(*origin), axes(*direction))
        assert found.item() == pytest.approx(way, rel=1e-4)


def met(origin: tuple, direction: tuple, **rows: list[float]) -> list[float]:
    """t at which a ray meets a box, a sphere and a cylinder; very large for one that is not."""
    solids = {
        name: (
            torch.tensor([[rows.get(name, kind.nothing)]]),
            torch.tensor([[FIRST[name]]], dtype=torch.int32),
        )
        for name, kind in KINDS.items()
    }
    return [near.item() for near, _ in hits(solids, axes(*origin), axes(*direction))]


def test_rays_meet_solids_where_geometry_says():
    rows = {
        "boxes": [0.0, 0, 5, 1, 1, 1, 1, 0],
        "spheres": [0.0, 0, 5, 0.5],
        "cylinders": [0.0, 0, 0.5, 4.75, 5.25],
    }
    assert met((0, 0, 0), (0, 0, 1), **rows) == pytest.approx([4.0, 4.5, 4.75], rel=1e-5)
    assert min(met((0, 0, 0), (0, 0, -1), **rows)) > 1e6
    assert min(met((2, 0, 0), (0, 0, 1), **rows)) > 1e6


def test_a_ray_along_a_turned_box_face_gives_a_number():
    half = 0.5**0.5
    box = [0.0, 0, 5, 1, 1, 1, half, half]
    # half * 1 + half * -1 is exactly 0: the ray runs along one of the box's own axes.
    inside = met((-9, 9, 5), (1, -1, 0), boxes=box)
    assert inside[0] == pytest.approx(9 - half, rel=1e-4)
    assert min(inside[1:] + met((9, 9, 5), (1, -1, 0), boxes=box)) > 1e6


def test_blended_texels_are_bilinear_and_mirrored():
    image = torch.from_numpy(textures.make_texture(2))
    bank = textures.bank_for(np.array([2]), torch.device("cpu"))
    u = torch.tensor([10.5, 11.0, 2 * textures.SIZE - 10.5])
    v = torch.tensor([20.5, 20.5, 20.5])
    colour = textures.blend(bank, *textures.taps(torch.full((3,), 2.0), u, v, torch.ones(3)))
    torch.testing.assert_close(colour[:, 0], image[20, 10])
    torch.testing.assert_close(colour[:, 1], (image[20, 10] + image[20, 11]) / 2)
    torch.testing.assert_close(colour[:, 2], image[20, 10])
    far = textures.blend(
        bank, *textures.taps(torch.full((1,), 2.0), u[:1], v[:1], torch.tensor([1000.0]))
    )
    smallest = image.unflatten(1, (-1, 64)).unflatten(0, (-1, 64)).mean(dim=(1, 3))
    assert (far[:, 0] >= smallest.amin(dim=(0, 1)) - 1e-6).all()
    assert (far[:, 0] <= smallest.amax(dim=(0, 1)) + 1e-6).all()


def test_a_bank_of_more_textures_begins_with_the_smaller_one():
    few, every = (
        textures.bank_for(np.array([last]), torch.device("cpu"))
        for last in (numbers_of(textures.HELD_OUT).max(), numbers_of(textures.TRAINED).max())
    )
    assert len(few) < len(every)
    assert torch.equal(few, every[: len(few)])


def test_view_tests_never_drop_what_is_seen(monkeypatch):
    worlds = draw_worlds(range(12), 2)
    fast = render_worlds(worlds, HEIGHT, WIDTH, device="cpu")
    everything = torch.tensor(True)
    monkeypatch.setattr(scenes.Viewpoint, "sees", lambda *_: everything)
    monkeypatch.setattr(scenes.Viewpoint, "sees_shadow", lambda *_: everything)
    plain = render_worlds(worlds, HEIGHT, WIDTH, device="cpu")
    torch.testing.assert_close(fast.depth, plain.depth)
    torch.testing.assert_close(fast.images, plain.images, atol=1e-4, rtol=0)


def test_most_rooms_are_homes_and_a_few_are_garish():
    materials = draw_worlds(range(500, 560), 1).materials
    garish = np.isin(materials[:, 0, 0, 0], textures.HELD_OUT[textures.GARISH]).mean()
    assert 0.05 < garish < 0.4


@pytest.mark.parametrize("kind", surfaces.MAKERS)
def test_a_texture_is_the_same_from_the_same_numbers_and_neither_flat_nor_wild(kind):
    one, again, other = (surfaces.MAKERS[kind](np.random.default_rng(k)) for k in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert 0.01 < one.std() < 0.9
    assert np.isfinite(one).all()


def test_light_is_less_in_corners_and_beside_things():
    worlds = draw_worlds(range(500, 508), 1)
    ambience = worlds.ambience.copy()
    ambience[:, 6] = 0.0
    lit = render_worlds(dataclasses.replace(worlds, ambience=ambience), HEIGHT, WIDTH, device="cpu")
    shaded = render_worlds(worlds, HEIGHT, WIDTH, device="cpu")
    assert torch.equal(lit.depth, shaded.depth)
    assert (lit.images - shaded.images).abs().mean() > 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_changes_only_rounding(clip):
    other = render_clips(SEEDS, 5, HEIGHT, WIDTH, device="cuda")
    error = (other.depth.cpu() - clip.depth).abs() / clip.depth
    assert (error < 1e-4).float().mean() > 0.999
    assert (other.images.cpu() - clip.images).abs().mean() < 2e-3
