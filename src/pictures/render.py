"""One picture of one copy of an environment, headless; and files of many pictures.

``render`` dispatches on the environment's class, so that no environment knows how it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import torch
from torch import Tensor

from envs.bar import Bar
from envs.base import Env, EnvError
from envs.battle.env import BattleEnv
from envs.pettingzoo.env import PettingZooEnv
from envs.pursuit.env import Pursuit
from envs.pursuit.laws import WORLD_SIZE, wrap
from envs.spread import COVERED, DIAMETER, Spread, nearest_agent
from envs.torch_env import TorchEnv
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


@singledispatch
def render(env: Env, env_index: int, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    """Picture of copy ``env_index`` as it stands, (H, W, 3) uint8 with even H and W, equal for a whole episode.

    group: (N,) int, colours the learners by HMF group; -1 is grey.
    weight: (N,) float, brightens the learners by attention weight, relative to the largest of their group.
    Neither matters where agents have no place (Bar) or the environment draws itself (PettingZoo).

    Raises EnvError for an environment without a picture, or a group or weight of another length.
    """
    raise EnvError(
        f"There is no picture of {type(env).__name__}. Known: "
        f"{', '.join(sorted(cls.__name__ for cls in render.registry if cls is not object))}. "
        "Add one with @render.register, as in src/pictures/render.py."
    )


@render.register
def _battle(env: BattleEnv, env_index: int, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    frame = env.frame_state(env_index)
    cell = max(3, ARENA // frame.map_size)
    side = cell * frame.map_size
    arena = blank(side, side, GRID)  # the border is a wall
    box(arena, cell, cell, side - cell, side - cell, BACKGROUND)
    centre = (frame.position + 0.5) * cell
    own = frame.side == 0
    rival = _rival_colour(group)
    health = np.zeros(frame.population[0])
    health[frame.slot[own]] = frame.hp[own]
    colour = learner_colours(frame.population[0], group, weight, health)
    if frame.attack is not None:
        attacks = frame.attack[:, 0] >= 0
        target = (frame.attack[attacks] + 0.5) * cell
        lines(arena, centre[attacks], target, YELLOW)
    stamp(arena, centre[own], colour[frame.slot[own]], disc(0.42 * cell))
    stamp(arena, centre[~own], dimmed(np.array(rival), frame.hp[~own]), diamond(0.5 * cell))
    n, m = frame.population
    alive, enemies = int(own.sum()), int((~own).sum())
    caption = [f"Battle  step {frame.t}", f"learners {alive} of {n}", f"enemies {enemies} of {m}"]
    caption += [f"kills {m - enemies} : {n - alive} deaths", *_brightness(weight, "healthy")]
    marks = [(diamond(6), rival, "enemy"), (np.ones((2, 12)), YELLOW, "attack")]
    return compose(arena, caption, learner_legend("learner", group) + marks)


@render.register
def _spread(env: Spread, env_index: int, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    state = _state(env, env_index)
    agent, landmark = state["position"], state["landmark"]
    distance = nearest_agent(landmark.unsqueeze(0), agent.unsqueeze(0))[0]
    covered = (distance < COVERED).numpy()
    between = torch.cdist(landmark, agent)
    colliding = ((torch.cdist(agent, agent) < DIAMETER).sum(dim=1) > 1).numpy()  # closer to itself, and to another
    scale = ARENA / (2 * SPREAD_VIEW)

    def pixels(place: Tensor) -> np.ndarray:
        shown = place.numpy().clip(-SPREAD_VIEW, SPREAD_VIEW) * [1, -1]  # up is up
        return (shown + SPREAD_VIEW) * scale

    arena = _grid_arena(cells=16)
    lines(arena, pixels(landmark), pixels(agent[between.argmin(dim=1)]), MUTED)
    stamp(arena, pixels(agent), learner_colours(env.info.n_agents, group, weight), disc(scale * DIAMETER / 2))
    stamp(arena, pixels(agent)[colliding], RED, ring(scale * DIAMETER / 2, 4))
    colour = np.where(covered[:, None], GREEN, TEXT)
    stamp(arena, pixels(landmark), colour, ring(scale * COVERED, 3))
    stamp(arena, pixels(landmark), colour, disc(4))
    caption = [f"Spread  step {state['t']}", f"covered {covered.sum()} of {len(covered)}"]
    caption += [f"mean distance {distance.mean():.2f}", f"collisions {state['collisions']:.0f}", *_brightness(weight)]
    marks = [(ring(7, 2), TEXT, "landmark"), (ring(7, 2), GREEN, "covered"), (ring(7, 2), RED, "collision")]
    return compose(arena, caption, learner_legend("agent", group) + marks)


@render.register
def _pursuit(env: Pursuit, env_index: int, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    state = _state(env, env_index)
    to_pixels = np.array([1, -1]) * ARENA / WORLD_SIZE  # up is up; the torus takes care of the sign
    pursuers, evader = state["pursuers"].numpy() * to_pixels, state["evader"].numpy() * to_pixels
    relative = wrap(state["pursuers"] - state["evader"])
    distance = relative.norm(dim=1)
    nearest = relative[distance.argmin()].numpy() * to_pixels
    arena = _grid_arena(cells=10)
    lines(arena, evader[None], (evader + nearest)[None], MUTED, wrap=True)
    if state["heading"].any():
        nose = torch.stack([state["heading"].cos(), state["heading"].sin()], dim=1).numpy() * [14, -14]
        lines(arena, pursuers, pursuers + nose, TEXT, wrap=True)
    stamp(arena, pursuers, learner_colours(env.info.n_agents, group, weight), disc(6), wrap=True)
    rival = _rival_colour(group)
    stamp(arena, evader, rival, diamond(9), wrap=True)
    if state["caught"]:
        stamp(arena, evader, GREEN, ring(20, 4), wrap=True)
    caption = [f"Pursuit on a torus  step {state['t']}", "caught" if state["caught"] else "free"]
    caption += [f"nearest pursuer {distance.min():.1f}", f"so far {state['min_distance']:.1f}", *_brightness(weight)]
    marks = [(diamond(7), rival, "evader"), (ring(7, 2), GREEN, "caught")]
    return compose(arena, caption, learner_legend("pursuer", group) + marks)


@render.register
def _bar(env: Bar, env_index: int, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    state = _state(env, env_index)
    nights, n, limit = int(state["nights"]), env.info.n_agents, env.info.episode_limit
    left, top, width, height = 46, 14, ARENA - 60, 380
    arena = blank(height + 44, ARENA)
    bottom = top + height

    def row(attendance: float) -> float:
        return bottom - height * attendance / n

    for tick in sorted({round(n * share / 4) for share in range(5)}):
        box(arena, left, row(tick), left + width, row(tick) + 1, GRID)
        write(arena, 8, round(row(tick)), str(tick), MUTED, 13)
    for tick in range(0, limit + 1, max(1, limit // 5)):
        write(arena, round(left + width * tick / limit) - 6, bottom + 16, str(tick), MUTED, 13)
    column = width / limit
    for night, attendance in enumerate(state["history"][:nights].tolist()):
        colour = RED if attendance > env.capacity else GREEN
        x = left + column * night
        box(arena, x, row(attendance), x + max(1, column - 2), bottom, colour)
    box(arena, left, row(env.capacity) - 1, left + width, row(env.capacity) + 1, YELLOW)
    caption = [f"Bar  night {nights} of {limit}", f"attendance {state['attendance']} of {n}"]
    if nights:
        caption += [f"mean {state['sum'] / nights:.1f}", f"mean payoff {state['payoff'] / (nights * n):.2f}"]
    tile = np.ones((11, 11), dtype=np.float32)
    legend = [(tile, GREEN, "room for all"), (tile, RED, "crowded"), (tile[4:7], YELLOW, f"capacity {env.capacity}")]
    return compose(arena, caption, legend)


@render.register
def _pettingzoo(env: PettingZooEnv, env_index: int, group: PerAgent = None, weight: PerAgent = None) -> np.ndarray:
    picture = env.picture(env_index)
    height, width, _ = picture.shape
    return picture[: height // 2 * 2, : width // 2 * 2]


def learner_colours(n: int, group: PerAgent, weight: PerAgent, shade: np.ndarray | None = None) -> np.ndarray:
    """(n, 3) float colours: hue by ``group`` (blue without), brightness by ``weight``, else by ``shade`` in [0, 1]."""
    index = _per_agent("group", group, n)
    load = _per_agent("weight", weight, n)
    colour = np.tile(BLUE, (n, 1)) if index is None else np.array([*GROUPS, MUTED])[np.where(index < 0, -1, index % 8)]
    if load is not None:
        shade = relative_weight(load, np.zeros(n, dtype=np.int64) if index is None else index)
    return colour if shade is None else dimmed(colour, shade)


def relative_weight(weight: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(N,) weight over the largest weight of its group; 0 where that is 0."""
    peak = np.zeros(group.max(initial=0) + 2)  # the last entry is that of group -1
    np.maximum.at(peak, group, weight)
    return weight / np.where(peak > 0, peak, 1)[group]


def dimmed(colour: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """(n, 3) float, colours (n, 3) or (3,) at brightness (n,) in [0, 1]."""
    return colour * (DIMMEST + (1 - DIMMEST) * brightness[:, None])


def learner_legend(label: str, group: PerAgent) -> Legend:
    """The learners' one colour, or the colours of the groups; more groups than colours share them."""
    if group is None:
        return [(disc(6), BLUE, label)]
    count = int(np.asarray(group).max(initial=0)) + 1
    heading = f"{label} by group" if count <= len(GROUPS) else f"{label} by group modulo {len(GROUPS)}"
    return [(np.zeros((1, 1)), MUTED, heading), *((disc(6), GROUPS[k], str(k)) for k in range(min(count, len(GROUPS))))]


def write_video(frames: Iterable[np.ndarray], path: Path, fps: int = 12) -> None:
    """Write (H, W, 3) uint8 frames: to a .gif or .mp4 file; to a .png, one sheet; without suffix, PNGs in a folder.

    A sheet shows every frame at half size, SHEET_COLUMNS beside one another.

    Raises EnvError for another suffix, for no frames and for frames of different sizes.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        imageio.imwrite(path, sheet([halved(frame) for frame in _of_one_size(frames, path)]))
    elif path.suffix == "":
        path.mkdir(exist_ok=True)
        for index, frame in enumerate(_of_one_size(frames, path)):
            imageio.imwrite(path / f"{index:05d}.png", frame)
    else:
        writer: Any
        with imageio.get_writer(path, mode="I", **options[path.suffix]) as writer:
            for frame in _of_one_size(frames, path):
                writer.append_data(frame)


def halved(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of even H and W at half size, 2 x 2 pixels averaged."""
    height, width, _ = frame.shape
    return frame.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).astype(np.uint8)


def sheet(frames: Sequence[np.ndarray]) -> np.ndarray:
    """(h, w, 3) uint8 frames row by row in one picture, at most SHEET_COLUMNS beside one another."""
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


def _state(env: TorchEnv, env_index: int) -> dict[str, Tensor]:
    """One copy's part of the state, on the CPU."""
    return {key: value[env_index].cpu() for key, value in env.state_dict()["state"].items()}


def _per_agent(name: str, values: PerAgent, n: int) -> np.ndarray | None:
    """``values`` as an array, after a check of their number."""
    if values is None:
        return None
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    if array.shape != (n,):
        raise EnvError(f"render: expected {name} of shape ({n},), one value per agent, got {array.shape}.")
    return array


def _rival_colour(group: PerAgent) -> Colour:
    """Orange, which is near some groups' colours, or else white."""
    return ORANGE if group is None else TEXT


def _brightness(weight: PerAgent, otherwise: str = "") -> list[str]:
    """What brightness means, for the caption."""
    meaning = otherwise if weight is None else "attention"
    return [f"bright = {meaning}"] if meaning else []


def _grid_arena(cells: int) -> np.ndarray:
    """A square arena with faint lines between ``cells`` x ``cells`` squares."""
    arena = blank(ARENA, ARENA)
    rows = np.arange(0, ARENA, ARENA // cells)
    arena[rows] = GRID
    arena[:, rows] = GRID
    return arena
