"""Pictures: what is drawn where, in which colour; and files of them."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from tests.support.paths import SRC
from torch import Tensor

from envs.base import Env, EnvError
from envs.battle.env import BattleEnv
from envs.matrix_game import MatrixGame
from envs.pettingzoo.env import PettingZooEnv
from export import to_parallel_env
from pictures.drawing import (
    BLUE,
    GREEN,
    GROUPS,
    MUTED,
    ORANGE,
    RED,
    STRIP,
    TEXT,
    YELLOW,
    blank,
    compose,
    disc,
    lines,
    stamp,
)
from pictures.render import ARENA, DIMMEST, draw, learner_colours, relative_weight, render, write_video

CPU = torch.device("cpu")
DOT = np.ones((1, 1), dtype=np.float32)
RANDOM = {"opponent": "random"}
SMALL: dict[str, dict[str, Any]] = {
    "battle": {"n_agents": 9, "n_enemies": 7, "map_size": 20, "hp": 1, "enemy_hp": 1, "episode_limit": 80, **RANDOM},
    "spread": {"n_agents": 3, "episode_limit": 6},
    "pursuit": {"n_agents": 4, "dynamics": "unicycle", "episode_limit": 6},
    "bar": {"n_agents": 10, "capacity": 5, "episode_limit": 6},
}


def task(name: str, **changes: Any) -> Env:
    """One copy after a reset."""
    env = to_parallel_env(name, **{**SMALL[name], **changes}).env
    env.reset(seed=0)
    return env


def with_state(env: Env, **values: Tensor) -> Env:
    """The same environment with other tensors (without the copies' axis) in its state."""
    state = env.state_dict()
    state["state"] |= {key: value.unsqueeze(0) for key, value in values.items()}
    env.load_state_dict(state)
    return env


def arena_of(picture: np.ndarray) -> np.ndarray:
    """The square part of a Spread or Pursuit picture."""
    left = (picture.shape[1] - ARENA) // 2
    return picture[STRIP : STRIP + ARENA, left : left + ARENA]


def count(picture: np.ndarray, colour: Any) -> int:
    return int((picture == np.array(colour)).all(axis=-1).sum())


# Shapes


def test_stamp_blends_every_shape_at_its_centre() -> None:
    canvas = blank(9, 9, (0, 0, 100))
    stamp(canvas, np.array([[2, 6], [7.4, 1]]), np.array([[200, 0, 0], [0, 200, 0]]), np.full((1, 1), 0.5))
    assert canvas[6, 2].tolist() == [100, 0, 50]
    assert canvas[1, 7].tolist() == [0, 100, 50]
    assert count(canvas, (0, 0, 100)) == 79


@pytest.mark.parametrize(("wrap", "columns"), [(False, [0, 1]), (True, [0, 1, 8])])
def test_stamp_over_the_edge_is_cut_off_or_comes_in_on_the_other_side(wrap: bool, columns: list[int]) -> None:
    canvas = blank(9, 9, (0, 0, 0))
    stamp(canvas, np.array([0, 4]), RED, np.ones((3, 3), dtype=np.float32), wrap)
    assert np.flatnonzero((canvas[4] == RED).all(axis=1)).tolist() == columns
    assert count(canvas, RED) == 3 * len(columns)


def test_later_shapes_win_and_none_at_all_is_fine() -> None:
    canvas = blank(5, 5, (0, 0, 0))
    stamp(canvas, np.array([[2, 2], [2, 2]]), np.array([RED, BLUE]), DOT)
    stamp(canvas, np.zeros((0, 2)), np.zeros((0, 3)), DOT)
    lines(canvas, np.zeros((0, 2)), np.zeros((0, 2)), RED)
    assert canvas[2, 2].tolist() == list(BLUE)
    assert count(canvas, (0, 0, 0)) == 24


def test_lines_have_no_gaps() -> None:
    canvas = blank(20, 20, (0, 0, 0))
    lines(canvas, np.array([[2, 3], [2, 18]]), np.array([[17, 9], [17, 18]]), RED)
    red = (canvas == RED).all(axis=-1)
    assert red[:16, 2:18].any(axis=0).all()
    assert red[16:, 2:18].any(axis=0).all()


@pytest.mark.parametrize("side", [3, 100, 901])
def test_composed_pictures_have_even_sides(side: int) -> None:
    picture = compose(blank(side, side), ["a caption that is much too long " * 9], [(disc(6), RED, "legend")])
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0


# Colours


def test_colours_by_group_and_brightness_by_weight() -> None:
    group = torch.tensor([0, 0, 1, -1, len(GROUPS)])
    assert learner_colours(5, None, None).tolist() == [list(BLUE)] * 5
    hues = [GROUPS[0], GROUPS[0], GROUPS[1], MUTED, GROUPS[0]]
    assert learner_colours(5, group, None).tolist() == [list(hue) for hue in hues]
    weight = np.array([0.2, 0.8, 1.0, 0.0, 1.0])
    brightness = np.array([0.25, 1, 1, 0, 1])[:, None] * (1 - DIMMEST) + DIMMEST
    np.testing.assert_allclose(learner_colours(5, group, weight), learner_colours(5, group, None) * brightness)


def test_relative_weight_of_groups_without_weight_is_zero() -> None:
    weight, group = np.array([0.0, 0.0, 0.3, 0.6, 0.5]), np.array([0, 0, 2, 2, -1])
    np.testing.assert_allclose(relative_weight(weight, group), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("name", ["group", "weight"])
def test_values_of_another_number_of_agents_are_refused(name: str) -> None:
    with pytest.raises(EnvError, match=rf"expected {name} of shape \(9,\), one value per agent, got \(8,\)"):
        render(task("battle"), 0, **{name: torch.zeros(8, dtype=torch.int64)})


# Tasks


@pytest.mark.parametrize("name", SMALL)
def test_pictures_of_an_episode_have_one_size_up_to_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never ask for the state that a run resumes from."""
    env, n = task(name), SMALL[name]["n_agents"]
    generator = torch.Generator().manual_seed(0)
    group, weight = torch.arange(n) % 12, torch.rand(n, generator=generator)
    monkeypatch.setattr(type(env), "state_dict", None)
    shapes = {render(env, 0).shape}
    done = False
    while not done:
        row = env.step(torch.randint(env.info.n_actions, (1, n), generator=generator))
        done = bool(row.done)
        picture = render(env, 0, group, weight)
        assert picture.dtype == np.uint8
        shapes.add(picture.shape)
    shapes.add(render(env, 0).shape)
    assert len(shapes) == 1
    height, width, channels = shapes.pop()
    assert height % 2 == width % 2 == 0
    assert channels == 3


def test_battle_shows_sides_health_and_attacks() -> None:
    env = task("battle", hp=10, enemy_hp=10, swap_sides="never")
    assert isinstance(env, BattleEnv)
    cell = ARENA // 20

    def centres(side: int) -> np.ndarray:
        scene, picture = env.scene(0), render(env, 0)
        left = (picture.shape[1] - cell * 20) // 2
        x, y = ((scene.position[scene.side == side] + 0.5) * cell).astype(int).T
        return picture[STRIP + y, left + x]

    assert (centres(0) == BLUE).all()
    assert (centres(1) == ORANGE).all()
    assert count(render(env, 0)[STRIP:-STRIP], YELLOW) == 0
    env.step(torch.full((1, 9), env.info.n_actions - 1))
    assert count(render(env, 0)[STRIP:-STRIP], YELLOW) > 9 * cell / 4
    generator = torch.Generator().manual_seed(0)
    hp = env.scene(0).hp
    while hp.min() > 0.5:
        env.step(torch.randint(env.info.n_actions, (1, 9), generator=generator))
        hp = env.scene(0).hp
    brightness = np.concatenate([centres(0).max(axis=1), centres(1).max(axis=1)]) / 255
    np.testing.assert_allclose(brightness, DIMMEST + (1 - DIMMEST) * hp, atol=0.01)


def test_spread_shows_covered_landmarks_and_collisions() -> None:
    landmark = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [0.0, -1.0]])
    apart = torch.tensor([[-1.0, 1.0], [0.9, 0.0], [9.0, -9.0]])
    picture = arena_of(render(with_state(task("spread"), landmark=landmark, position=apart), 0))
    assert count(picture, RED) == 0
    assert count(picture[: ARENA // 2, : ARENA // 2], GREEN) > 100, "the landmark up on the left is covered"
    assert count(picture[:, ARENA // 2 :], GREEN) == 0
    assert count(picture[-30:, -30:], BLUE) > 100, "who leaves the view is drawn at its edge"
    touching = torch.tensor([[0.0, 0.0], [0.2, 0.0], [1.0, 1.0]])
    assert count(arena_of(render(with_state(task("spread"), landmark=landmark, position=touching), 0)), RED) > 100


def test_pursuit_is_drawn_on_a_torus() -> None:
    pursuers = torch.tensor([[0.0, 50.0], [30.0, 90.0], [30.0, 80.0], [30.0, 70.0]])
    places = {"pursuers": pursuers, "evader": torch.tensor([95.0, 20.0])}
    picture = arena_of(render(with_state(task("pursuit"), **places), 0))
    assert count(picture[:, :20], BLUE) > 20
    assert count(picture[:, -20:], BLUE) > 20
    assert count(picture[: ARENA // 2, 150:300], BLUE) == count(picture[:, 150:300], BLUE) > 0, "up is up"
    assert count(picture, GREEN) == 0
    caught = render(with_state(task("pursuit"), **places, caught=torch.tensor(True)), 0)
    assert count(arena_of(caught), GREEN) > 50


def attend(env: Env, attendance: int) -> None:
    env.step((torch.arange(10) < attendance).to(torch.int64).unsqueeze(0))


def test_bar_shows_all_nights_the_mean_and_the_capacity() -> None:
    env = task("bar")
    assert count(render(env, 0)[STRIP:-STRIP], GREEN) == 0
    pixels = []
    for attendance in (4, 8, 2):
        attend(env, attendance)
        picture = render(env, 0)[STRIP:-STRIP]
        pixels.append((count(picture, GREEN), count(picture, RED)))
    (first, nothing), (same, red), (both, still) = pixels
    assert (nothing, same, still) == (0, first, red)
    assert (red / first, both / first) == pytest.approx((8 / 4, 6 / 4), rel=0.05)
    yellow, white = ((picture == colour).all(axis=-1).any(axis=1).nonzero()[0] for colour in (YELLOW, TEXT))
    assert white.mean() - yellow.mean() == pytest.approx((5 - 14 / 3) / 10 * 380, abs=1), "between capacity and mean"
    deviation = np.std([4, 8, 2])
    assert np.ptp(white) == pytest.approx(2 * deviation / 10 * 380, abs=3)


def test_bar_shows_no_night_of_another_episode() -> None:
    env = task("bar")

    def shown() -> list[int]:
        return env.scene(0).past.tolist()

    for attendance, nights in ((4, [4]), (8, [4, 8]), (2, [4, 8, 2])):
        attend(env, attendance)
        assert shown() == shown() == nights, "however often one looks"
    env.reset(seed=1)
    for attendance in (6, 9, 1):
        attend(env, attendance)
    assert shown() == [1], "the nights before were not looked at"
    attend(env, 3)
    assert shown() == [3]
    env.reset(seed=2)
    assert shown() == []
    attend(env, 7)
    assert shown() == [7]


def test_other_environments_are_refused_or_draw_themselves() -> None:
    game = MatrixGame(1, CPU, game="additive", n_agents=2, episode_limit=1)
    with pytest.raises(EnvError, match=r"no picture of MatrixGame\. .*its method scene\(env_index\)"):
        render(game, 0)
    with pytest.raises(
        EnvError, match="no picture of a str; known: BarScene, BattleScene, PursuitScene, SpreadScene, ndarray"
    ):
        draw("scenery")


def imported(kwargs: dict[str, Any]) -> PettingZooEnv:
    env = to_parallel_env("pettingzoo", kwargs=kwargs).env
    assert isinstance(env, PettingZooEnv)
    env.reset(seed=0)
    return env


@pytest.mark.filterwarnings("ignore:.*without specifying any render mode")
def test_imported_environments_draw_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    picture = render(imported({"render_mode": "rgb_array"}), 0)
    assert picture.dtype == np.uint8
    assert picture.std() > 0
    message = r"expected render\(\) to return an array of shape \(H, W, 3\), got NoneType.*kwargs.render_mode"
    with pytest.raises(EnvError, match=message):
        render(imported({}), 0)


# Files

FRAMES = [np.full((40, 60, 3), shade, dtype=np.uint8) for shade in (0, 120, 240)]


def test_folder_of_pictures_is_exact(tmp_path: Path) -> None:
    write_video(iter(FRAMES), tmp_path / "new" / "frames")
    files = sorted((tmp_path / "new" / "frames").iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    for file, frame in zip(files, FRAMES, strict=True):
        np.testing.assert_array_equal(imageio.imread(file), frame)


def test_a_folder_holds_the_last_film_alone(tmp_path: Path) -> None:
    write_video(FRAMES, tmp_path)
    (tmp_path / "notes.png").write_bytes(b"of somebody")
    write_video(FRAMES[:1], tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["00000.png", "notes.png"]


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_films_hold_every_frame(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"film{suffix}"
    write_video(FRAMES, path, fps=4)
    frames = imageio.mimread(path)
    assert [frame.shape[:2] for frame in frames] == [(40, 60)] * 3
    assert [float(frame[..., :3].mean()) for frame in frames] == pytest.approx([0, 120, 240], abs=6)


def test_a_sheet_holds_every_frame_at_half_size(tmp_path: Path) -> None:
    write_video([*FRAMES, *FRAMES], tmp_path / "sheet.png")
    sheet = imageio.imread(tmp_path / "sheet.png")
    assert sheet.shape == (2 * 20, 4 * 30, 3)
    cells = sheet.reshape(2, 20, 4, 30, 3)[:, 10, :, 15, 0]
    assert cells[0].tolist() == [0, 120, 240, 0]
    assert cells[1, :2].tolist() == [120, 240]
    assert (sheet[20:, 60:] == sheet[20, 60]).all(), "what is left over is blank"


def bad_suffix(folder: Path) -> None:
    write_video(FRAMES, folder / "film.avi")


def no_frames(folder: Path) -> None:
    write_video([], folder / "film.gif")


def two_sizes(folder: Path) -> None:
    write_video([FRAMES[0], FRAMES[0][:20]], folder / "film")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (bad_suffix, "expected .gif, .mp4, .png for one sheet, or no suffix for a folder of PNG files, got '.avi'"),
        (no_frames, "there are no frames to write"),
        (two_sizes, r"expected frames of one size, got \(40, 60, 3\) and then \(20, 60, 3\)"),
    ],
)
def test_bad_films(write: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    with pytest.raises(EnvError, match=message):
        write(tmp_path)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_folder_where_a_film_should_be_is_one_line(suffix: str, tmp_path: Path) -> None:
    """And nothing is said when writers are removed."""
    (tmp_path / f"film{suffix}").mkdir()
    code = "import sys; from pathlib import Path; from pictures.render import *; write_video([], Path(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(tmp_path / f"film{suffix}")]
    done = subprocess.run(words, cwd=SRC, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        f"film{suffix}: expected a place for a video, cannot write it (Is a directory). Give another one."
    )
    assert "Exception ignored" not in done.stderr


def test_a_film_that_ffmpeg_cannot_write_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").symlink_to("/dev/full")
    with pytest.raises(EnvError) as refused:
        write_video([FRAMES[0]] * 40, tmp_path / "film.mp4")
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'film.mp4'}: expected a place for a video, cannot write it (")
    assert "\n" not in said
    assert "FFMPEG" not in said


def test_a_pipe_that_ffmpeg_has_closed_is_said_to_be_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("imageio.v2.get_writer", ended)
    with pytest.raises(EnvError, match=r"\(ffmpeg has ended, as it does where the disk is full or fps too large\)"):
        write_video([FRAMES[0]], tmp_path / "film.mp4")
