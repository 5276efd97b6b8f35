"""One picture of one copy of an environment, headless; and files of many pictures.

An environment says what there is to see (`Env.scene`), and ``draw`` chooses a painter by the scene's class: no
environment knows how it is drawn, and no picture needs another task's packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from torch import Tensor

from envs.base import Env, EnvError
from envs.scenes import BarScene, BattleScene, PursuitScene, SpreadScene
from pictures.drawing import (
    BACKGROUND,
    BLUE,
    GREEN,
    GRID,
    GROUPS,
    MUTED,
    ORANGE,
    RED,
    TEXT,
    YELLOW,
    Colour,
    Legend,
    blank,
    box,
    compose,
    diamond,
    disc,
    lines,
    ring,
    stamp,
    write,
)

ARENA = 720  # pixels, the side of an arena; Battle's is the nearest multiple of its cells
SPREAD_VIEW = 1.6  # units from the centre to the edge; agents beyond it are drawn at the edge
DIMMEST = 0.3  # brightness of an agent at the point of death, or of one with no attention weight

SHEET_COLUMNS = 4

PerAgent = Tensor | np.ndarray | None


def render(env: Env, env_index: int, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    """Draw copy ``env_index`` as it stands: (H, W, 3) uint8 with even H and W, equal for a whole episode.

    group: (N,) int, colours the learners by HMF group; -1 is grey.
    weight: (N,) float, brightens the learners by attention weight, relative to the largest of their group.
    Neither matters where agents have no place (Bar) or the environment draws itself (PettingZoo).

    Raises EnvError for an environment without a picture, or a group or weight of another length.
    """
    return draw(env.scene(env_index), group, weight)


@singledispatch
def draw(scene: Any, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    """Draw a scene; see `render`. Raises EnvError for a class of scene that no painter is registered for."""
    known = ", ".join(sorted(cls.__name__ for cls in draw.registry if cls is not object))
    raise EnvError(
        f"There is no picture of a {type(scene).__name__}; known: {known}. "
        "Add one with @draw.register, as in src/pictures/render.py."
    )


@draw.register
def _picture(scene: np.ndarray, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    height, width, _ = scene.shape
    return scene[: height // 2 * 2, : width // 2 * 2]


@draw.register
def _battle(scene: BattleScene, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    cell = max(3, ARENA // scene.map_size)
    side = cell * scene.map_size
    arena = blank(side, side, GRID)  # the border is a wall
    box(arena, cell, cell, side - cell, side - cell, BACKGROUND)
    centre = (scene.position + 0.5) * cell
    own = scene.side == 0
    rival = _rival_colour(group)
    health = np.zeros(scene.population[0])
    health[scene.slot[own]] = scene.hp[own]
    colour = learner_colours(scene.population[0], group, weight, health)
    if scene.attack is not None:
        attacks = scene.attack[:, 0] >= 0
        target = (scene.attack[attacks] + 0.5) * cell
        lines(arena, centre[attacks], target, YELLOW)
    stamp(arena, centre[own], colour[scene.slot[own]], disc(0.42 * cell))
    stamp(arena, centre[~own], dimmed(np.array(rival), scene.hp[~own]), diamond(0.5 * cell))
    n, m = scene.population
    alive, enemies = int(own.sum()), int((~own).sum())
    caption = [f"Battle  step {scene.t}", f"learners {alive} of {n}", f"enemies {enemies} of {m}"]
    caption += [f"kills {m - enemies} : {n - alive} deaths", *_brightness(weight, "healthy")]
    marks = [(diamond(6), rival, "enemy"), (np.ones((2, 12)), YELLOW, "attack")]
    return compose(arena, caption, learner_legend("learner", group) + marks)


@draw.register
def _spread(scene: SpreadScene, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    scale = ARENA / (2 * SPREAD_VIEW)

    def pixels(place: np.ndarray) -> np.ndarray:
        shown = place.clip(-SPREAD_VIEW, SPREAD_VIEW) * [1, -1]  # up is up
        return (shown + SPREAD_VIEW) * scale

    agent, landmark = pixels(scene.agent), pixels(scene.landmark)
    arena = _grid_arena(cells=16)
    lines(arena, landmark, agent[scene.nearest], MUTED)
    stamp(arena, agent, learner_colours(len(agent), group, weight), disc(scale * scene.radius))
    stamp(arena, agent[scene.colliding], RED, ring(scale * scene.radius, 4))
    colour = np.where(scene.covered[:, None], GREEN, TEXT)
    stamp(arena, landmark, colour, ring(scale * scene.reach, 3))
    stamp(arena, landmark, colour, disc(4))
    caption = [f"Spread  step {scene.t}", f"covered {scene.covered.sum()} of {len(landmark)}"]
    caption += [f"mean distance {scene.distance.mean():.2f}", f"collisions {scene.collisions}", *_brightness(weight)]
    marks = [(ring(7, 2), TEXT, "landmark"), (ring(7, 2), GREEN, "covered"), (ring(7, 2), RED, "collision")]
    return compose(arena, caption, learner_legend("agent", group) + marks)


@draw.register
def _pursuit(scene: PursuitScene, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    to_pixels = np.array([1, -1]) * ARENA / scene.world_size  # up is up; the torus takes care of the sign
    pursuer, evader = scene.pursuer * to_pixels, scene.evader * to_pixels
    arena = _grid_arena(cells=10)
    lines(arena, evader[None], (evader + scene.nearest * to_pixels)[None], MUTED, wrap=True)
    if scene.heading is not None:
        nose = np.stack([np.cos(scene.heading), np.sin(scene.heading)], axis=1) * [14, -14]
        lines(arena, pursuer, pursuer + nose, TEXT, wrap=True)
    stamp(arena, pursuer, learner_colours(len(pursuer), group, weight), disc(6), wrap=True)
    rival = _rival_colour(group)
    stamp(arena, evader, rival, diamond(9), wrap=True)
    if scene.caught:
        stamp(arena, evader, GREEN, ring(20, 4), wrap=True)
    caption = [f"Pursuit on a torus  step {scene.t}", "caught" if scene.caught else "free"]
    caption += [f"nearest pursuer {scene.distance:.1f}", f"so far {scene.min_distance:.1f}", *_brightness(weight)]
    marks = [(diamond(7), rival, "evader"), (ring(7, 2), GREEN, "caught")]
    return compose(arena, caption, learner_legend("pursuer", group) + marks)


@draw.register
def _bar(scene: BarScene, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    night, n, limit = scene.night, scene.n_agents, scene.episode_limit
    left, top, width, height = 46, 14, ARENA - 90, 380
    arena = blank(height + 44, ARENA)
    bottom, beside, column = top + height, left + width + 22, width / limit

    def row(attendance: float) -> float:
        return bottom - height * min(max(attendance, 0), n) / n

    for tick in sorted({round(n * share / 4) for share in range(5)}):
        box(arena, left, row(tick), left + width, row(tick) + 1, GRID)
        write(arena, 8, round(row(tick)), str(tick), MUTED, 13)
    for tick in range(0, limit + 1, max(1, limit // 5)):
        write(arena, round(left + column * tick) - 6, bottom + 16, str(tick), MUTED, 13)
    for index, attendance in enumerate(scene.past, start=night - len(scene.past)):
        x = left + column * index
        colour = RED if attendance > scene.capacity else GREEN
        box(arena, x, row(attendance), x + max(1, column - 2), bottom, colour)
    box(arena, left, row(scene.capacity) - 1, left + width, row(scene.capacity) + 1, YELLOW)
    caption = [f"Bar  night {night} of {limit}", f"attendance {scene.attendance} of {n}"]
    if night:
        ends = row(scene.mean + scene.deviation), row(scene.mean - scene.deviation)
        box(arena, beside - 1, ends[0], beside + 1, ends[1], TEXT)
        for end in ends:
            box(arena, beside - 6, end - 1, beside + 6, end + 1, TEXT)
        stamp(arena, np.array([beside, row(scene.mean)]), TEXT, disc(5))
        caption += [f"mean {scene.mean:.1f} ± {scene.deviation:.1f}", f"mean payoff {scene.payoff:.2f}"]
    tile = np.ones((11, 11), dtype=np.float32)
    legend = [(tile, GREEN, "room for all"), (tile, RED, "crowded"), (tile[4:7], YELLOW, f"capacity {scene.capacity}")]
    legend += [(disc(5), TEXT, "mean of the nights so far ± standard deviation")]
    return compose(arena, caption, legend)


def learner_colours(n: int, group: PerAgent, weight: PerAgent, shade: np.ndarray | None = None) -> np.ndarray:
    """Choose colours (n, 3) float: hue by ``group``, else blue; brightness by ``weight``, else ``shade`` in [0, 1]."""
    index = _per_agent("group", group, n)
    load = _per_agent("weight", weight, n)
    colour = np.tile(BLUE, (n, 1)) if index is None else np.array([*GROUPS, MUTED])[np.where(index < 0, -1, index % 8)]
    if load is not None:
        shade = relative_weight(load, np.zeros(n, dtype=np.int64) if index is None else index)
    return colour if shade is None else dimmed(colour, shade)


def relative_weight(weight: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Divide each weight (N,) by the largest of its group (N,); 0 where that is 0."""
    peak = np.zeros(group.max(initial=0) + 2)  # the last entry is that of group -1
    np.maximum.at(peak, group, weight)
    return weight / np.where(peak > 0, peak, 1)[group]


def dimmed(colour: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Dim colours (n, 3) or (3,) to brightness (n,) in [0, 1]: (n, 3) float, never quite black."""
    return colour * (DIMMEST + (1 - DIMMEST) * brightness[:, None])


def learner_legend(label: str, group: PerAgent) -> Legend:
    """Explain the learners' one colour, or the colours of the groups; groups share colours when there are too few."""
    if group is None:
        return [(disc(6), BLUE, label)]
    count = int(_array(group).max(initial=0)) + 1
    heading = f"{label} by group" if count <= len(GROUPS) else f"{label} by group modulo {len(GROUPS)}"
    return [(np.zeros((1, 1)), MUTED, heading), *((disc(6), GROUPS[k], str(k)) for k in range(min(count, len(GROUPS))))]


def write_video(frames: Iterable[np.ndarray], path: Path, fps: int = 12) -> None:
    """Write (H, W, 3) uint8 frames: to a .gif or .mp4 file; to a .png, one sheet; without suffix, PNGs in a folder.

    A sheet shows every frame at half size, SHEET_COLUMNS beside one another.

    Raises EnvError for another suffix, for no frames, for frames of different sizes and for a place that refuses them.
    """
    options: dict[str, dict[str, Any]] = {
        ".gif": {"duration": 1000 / fps, "loop": 0},
        ".mp4": {"fps": fps, "quality": 8, "macro_block_size": 2},
    }
    if path.suffix not in ("", ".png", *options):
        raise EnvError(
            f"{path}: expected .gif, .mp4, .png for one sheet, or no suffix for a folder of PNG files, "
            f"got '{path.suffix}'."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            imageio.imwrite(path, sheet([halved(frame) for frame in _of_one_size(frames, path)]))
        elif path.suffix == "":
            path.mkdir(exist_ok=True)
            for earlier in path.glob(f"{'[0-9]' * 5}.png"):  # of a film that may have been longer
                earlier.unlink()
            for index, frame in enumerate(_of_one_size(frames, path)):
                imageio.imwrite(path / f"{index:05d}.png", frame)
        else:
            there = path.exists()
            path.open("ab").close()  # or writers, of which some fail only when they are removed, would
            if not there:
                path.unlink()
            writer: Any
            with imageio.get_writer(path, mode="I", **options[path.suffix]) as writer:
                for frame in _of_one_size(frames, path):
                    writer.append_data(frame)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]  # imageio adds ffmpeg's whole command
        if isinstance(error, BrokenPipeError):
            reason = "ffmpeg has ended, as it does where the disk is full or fps too large"
        raise EnvError(
            f"{path}: expected a place for a video, cannot write it ({reason}). Give another one."
        ) from error


def halved(frame: np.ndarray) -> np.ndarray:
    """Halve a frame (H, W, 3) uint8 of even H and W: 2 x 2 pixels are averaged."""
    height, width, _ = frame.shape
    return frame.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).astype(np.uint8)


def sheet(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Lay frames (h, w, 3) uint8 out row by row in one picture, at most SHEET_COLUMNS beside one another."""
    columns = min(len(frames), SHEET_COLUMNS)
    missing = -len(frames) % columns
    cells = np.stack([*frames, *[blank(*frames[0].shape[:2])] * missing])
    n, height, width, _ = cells.shape
    rows = cells.reshape(n // columns, columns, height, width, 3).swapaxes(1, 2)
    return rows.reshape(n // columns * height, columns * width, 3)


def _of_one_size(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    shape = None
    for frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            raise EnvError(f"{path}: expected frames of one size, got {shape} and then {frame.shape}.")
        yield frame
    if shape is None:
        raise EnvError(f"{path}: there are no frames to write.")


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _per_agent(name: str, values: PerAgent, n: int) -> np.ndarray | None:
    """Return ``values`` as an array; EnvError unless there is one for each of ``n`` agents."""
    if values is None:
        return None
    array = _array(values)
    if array.shape != (n,):
        raise EnvError(f"render: expected {name} of shape ({n},), one value per agent, got {array.shape}.")
    return array


def _rival_colour(group: PerAgent) -> Colour:
    """Return orange; white where groups are coloured, because some groups' colours are near orange."""
    return ORANGE if group is None else TEXT


def _brightness(weight: PerAgent, otherwise: str = "") -> list[str]:
    """Return the caption's words for what brightness means; none where it means nothing."""
    meaning = otherwise if weight is None else "attention"
    return [f"bright = {meaning}"] if meaning else []


def _grid_arena(cells: int) -> np.ndarray:
    """Make a square arena with faint lines between ``cells`` x ``cells`` squares."""
    arena = blank(ARENA, ARENA)
    rows = np.arange(0, ARENA, ARENA // cells)
    arena[rows] = GRID
    arena[:, rows] = GRID
    return arena
