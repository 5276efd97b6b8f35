"""Methods compared on tasks: tables of scores and of differences to a reference, over seeds and over tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.collect import SCORES, TAIL, Method, Task, matched
from analysis.statistics import LEVEL, RESAMPLES, Estimate, estimate, improvement, min_max_scaled, paired_difference
from analysis.tables import Cell, Table
from records.files import RecordError
from utils.words import by_numbers, nearest, some

RETURN = "test_return_mean"
ONLINE = "test_online_return_mean"
EXPLOITABILITY = "test_exploitability"
MEANT = {"final": "the last evaluation", "tail": f"the mean of the last {TAIL} evaluations"}
CONVENTIONS = {
    "return_mean": "an episode's summed rewards, mean over the initial agents",
    "return_sum": "an episode's summed rewards, sum over the agents",
}
INTERVAL = (
    f"stratified bootstrap {LEVEL:.0%} interval over seeds ({RESAMPLES} draws, percentiles); n is the number of seeds"
)
SCALED = "0 (the lowest run of all methods) and 1 (the highest)"
FEW_SEEDS = "With two to four seeds the interval is the range from the worst to the best."
IQM = "Interquartile mean over seeds (n = 4: the two middle ones; n < 4: the plain mean)"
OVER_SEEDS = f"{IQM} with {INTERVAL}. {FEW_SEEDS}"
CURVE = f"Line: {IQM}. Band: {INTERVAL}, at each point separately. {FEW_SEEDS}"


def described(metric: str) -> str:
    """Name the metric and, for returns, the convention behind it."""
    convention = CONVENTIONS.get(metric.removeprefix("test_"))
    prefix = "greedy evaluation, " if metric.startswith("test_") else ""
    return f"{metric} ({prefix}{convention})" if convention else metric


def results_table(tasks: Sequence[Task], metric: str) -> Table:
    """Tabulate the final and highest evaluation and the mean height of the curve of every method on every task."""
    best = called(metric)[SCORES.index("best")]
    caption = (
        f"{described(metric)}. t_env: step of the last evaluation; final: that evaluation; {best}: highest evaluation "
        f"of a run{', optimistic' if best == 'best' else ''}; auc: area under the curve over its span of steps. "
        f"{OVER_SEEDS}"
    )
    rows: list[list[Cell]] = [
        [task.label, method.label, method.last_step, *(estimate([method.array(kind)]) for kind in SCORES)]
        for task in tasks
        for method in task.methods
    ]
    return Table(caption, ["task", "method", "t_env", *called(metric)], rows)


def called(metric: str) -> list[str]:
    """Return what tables call SCORES of a metric: the highest return is the best; of collisions it may be the worst."""
    return ["highest" if kind == "best" and not is_return(metric) else kind for kind in SCORES]


def is_return(metric: str) -> bool:
    """Return whether a higher value is a better one, as far as the metric's name says."""
    return metric.endswith(tuple(CONVENTIONS))


def cost_table(columns: Mapping[str, Sequence[Task]]) -> Table:
    """Tabulate what every method cost on every task: ``columns`` is what was measured -> tasks with its values."""
    caption = (
        "minutes: wall time of a run from start to end, evaluations included; of a resumed run its last part. CPU s: "
        "of training alone, all threads of the process together, where that was recorded. Runs that share a machine "
        f"slow one another down. {OVER_SEEDS}"
    )
    return Table(caption, ["task", "method", *columns], side_by_side(columns))


def exploit_table(found: Mapping[str, Mapping[int, tuple[float, float]]], learner: str) -> Table:
    """Tabulate what deviators gain: ``found`` is population -> seed -> their return and the population's in their seat.

    ``learner``: how they learned, for the caption.
    """
    rows: list[list[Cell]] = []
    for name, pairs in found.items():
        deviator, population = ({seed: pair[i] for seed, pair in pairs.items()} for i in range(2))
        returns = [estimate([np.array(list(values.values()))]) for values in (population, deviator)]
        rows.append([name, *returns, paired_difference(deviator, population)])
    caption = (
        "return_mean of one agent of Battle, greedy, in seats drawn for each episode: of the population's own policy, "
        f"and of a deviator ({learner}) among teammates and enemies that keep to theirs. gain: the difference within "
        f"seeds, a lower bound of what one deviation gains. {OVER_SEEDS}"
    )
    return Table(caption, ["population", "own policy", "deviator", "gain"], rows)


def invasion_table(found: Mapping[str, Mapping[str, Mapping[int, tuple[float, float]]]]) -> Table:
    """Tabulate what policies gain in seats of others: ``found`` is population -> method -> seed -> both returns.

    These are that of the method's policy and that of the population, in the same seats.
    """
    methods = list(dict.fromkeys(method for of_one in found.values() for method in of_one))
    rows: list[list[Cell]] = []
    for name, of_one in found.items():
        own = {seed: pair[1] for pairs in of_one.values() for seed, pair in pairs.items()}
        gains = [
            paired_difference({seed: pair[0] for seed, pair in of_one.get(method, {}).items()}, own)
            for method in methods
        ]
        rows.append([name, estimate([np.array(list(own.values()))]), *gains])
    caption = (
        "own policy: return_mean of one agent of Battle, greedy, in seats drawn for each episode, of the population's "
        "own policy. The other columns: what a trained policy of that method earns more in the same seats, among "
        "teammates and enemies that keep to theirs; above 0, the population is at no equilibrium. n counts policies of "
        f"the method, each of which plays episodes of its own. {OVER_SEEDS}"
    )
    return Table(caption, ["population", "own policy", *methods], rows)


def transfer_table(played: Mapping[str, Sequence[Task]]) -> Table:
    """Tabulate the returns of every method, trained on a task, in each setting: ``played`` is setting -> tasks."""
    caption = (
        f"{described(RETURN)}, of policies trained on the task, in populations of other sizes; –: they cannot play it. "
        f"{OVER_SEEDS}"
    )
    return Table(caption, ["trained on", "method", *played], side_by_side(played))


def noise_table(measured: Mapping[str, Sequence[Task]], n_batches: int) -> Table:
    """Tabulate how noisy learning is, by method: ``measured`` is a field of `experiments.noise.Noise` -> tasks."""
    caption = (
        f"How noisy updates are at a checkpoint, over {n_batches} batches from fresh play. signal: squared norm of the "
        "mean gradient of the acting network over the gradient's variance (trace of its covariance), for the batch of "
        "one update. agent_signal: the same ratio of what single agents add to that gradient. "
        "target_std: standard deviation of the targets of the first TD problem; td_error: their mean "
        f"absolute distance from the predictions. {OVER_SEEDS}"
    )
    return Table(caption, ["task", "method", *measured], side_by_side(measured))


def side_by_side(columns: Mapping[str, Sequence[Task]]) -> list[list[Cell]]:
    """List rows of task, method and the method's last value in every column; None where it has none."""
    cells = {
        (task.label, method.label, name): estimate([method.array("final")])
        for name, tasks in columns.items()
        for task in tasks
        for method in task.methods
    }
    pairs = dict.fromkeys((task, method) for task, method, _ in cells)
    return [[task, method, *(cells.get((task, method, name)) for name in columns)] for task, method in pairs]


def overview_table(tasks: Sequence[Task], metric: str, score: str, exploited: Sequence[Task] = ()) -> Table:
    """Tabulate ``score`` of every method, a row, on every task, a column; None where it did not run.

    ``exploited``: the tasks again with EXPLOITABILITY of the same runs, where that is logged; more columns.
    """
    titles = [*(task.label for task in tasks), *(f"{task.label}: exploitability" for task in exploited)]
    columns = [
        {method.label: estimate([method.array(score)]) for method in task.methods} for task in (*tasks, *exploited)
    ]
    names = sorted({name for column in columns for name in column}, key=by_numbers)
    rows: list[list[Cell]] = [[name, *(column.get(name) for column in columns)] for name in names]
    meant = (
        f" {EXPLOITABILITY.removeprefix('test_')}: what an agent's best other action would have paid it more, "
        "the others as they are (0: a pure equilibrium)."
    )
    caption = f"{described(metric)}: {MEANT[score]}.{meant if exploited else ''} {OVER_SEEDS}"
    return Table(caption, ["method", *titles], rows)


def against(tasks: Sequence[Task], reference: str) -> list[tuple[Task, Method, Method]]:
    """List (task, method, reference) for every other method on every task that has the reference."""
    return [
        (task, method, base)
        for task in tasks
        for base in task.methods
        if base.label == reference
        for method in task.methods
        if method is not base
    ]


def swing_table(averaged: Sequence[Task], online: Sequence[Task]) -> Table:
    """Tabulate what averaged weights do to the last TAIL evaluations, for runs that logged as many of both policies."""
    rows: list[list[Cell]] = []
    for task, one, other in matched(averaged, online):
        last = [
            {seed: np.array(curve.values[-TAIL:]) for seed, curve in method.curves.items() if len(curve.steps) >= TAIL}
            for method in (one, other)
        ]
        common = sorted(last[0].keys() & last[1])
        if not common:
            continue
        swings = [{seed: float(values[seed].std(ddof=1)) for seed in common} for values in last]
        rows.append(
            [
                task.label,
                one.label,
                *(estimate([np.array([values[seed].mean() for seed in common])]) for values in last),
                *(estimate([np.array([*swing.values()])]) for swing in swings),
                paired_difference(*swings),
            ]
        )
    caption = (
        f"{described(RETURN)} of averaged and of online weights over the last {TAIL} evaluations of a run, the same "
        "episodes for both: their mean, and their swing, which is their standard deviation (n - 1). Difference: swing "
        f"of the averaged policy minus that of the online one, run by run. {OVER_SEEDS}"
    )
    head = ["task", "method", "mean, averaged", "mean, online", "swing, averaged", "swing, online", "difference"]
    return Table(caption, head, rows)


def with_reference(tasks: Sequence[Task], reference: str) -> tuple[list[Task], list[str]]:
    """Return the tasks that have the reference, and the names of the others, which cannot be compared with it.

    Raises RecordError when none has it.
    """
    known = {method.label for task in tasks for method in task.methods}
    if reference not in known:
        raise RecordError(
            f"--reference '{reference}': not among these runs.{nearest(reference, known)} Known: {some(known)}."
        )
    found = [task for task in tasks if any(method.label == reference for method in task.methods)]
    return found, [task.label for task in tasks if task not in found]


def budget(tasks: Sequence[Task]) -> str:
    """Return a sentence that says how long runs were on each task."""
    steps = (f"{task.label} {max(method.last_step for method in task.methods):,}" for task in tasks)
    return f"Budget in environment steps: {', '.join(steps)}."


def ablation_table(tasks: Sequence[Task], reference: str, metric: str, score: str) -> Table:
    """Tabulate every method minus the reference, seed by seed."""
    rows: list[list[Cell]] = [
        [
            task.label,
            method.label,
            *(paired_difference(method.scores(kind), base.scores(kind)) for kind in (score, "auc")),
            improvement(method.array(score), base.array(score)),
        ]
        for task, method, base in against(tasks, reference)
    ]
    better = "better" if is_return(metric) else "higher"
    caption = (
        f"Difference to {reference} in {described(metric)}: {IQM} of the differences between runs of the same seed, "
        f"with {INTERVAL} (common seeds). {FEW_SEEDS} P: probability that a run is {better} than one of "
        f"{reference} by {MEANT[score]}, over all pairs of runs; its n counts the runs of both."
    )
    return Table(caption, ["task", "method", score, "auc", f"P({score})"], rows)


def same_methods(tasks: Sequence[Task]) -> bool:
    """Return whether there are several tasks, with the same methods on each."""
    names = [method.label for method in tasks[0].methods]
    return len(tasks) > 1 and all([method.label for method in task.methods] == names for task in tasks)


def scaled(task: Task, kind: str) -> dict[str, dict[int, float]]:
    """Return method -> seed -> score, scaled to 0 (the lowest run of all methods) and 1 (the highest)."""
    arrays = min_max_scaled({method.label: method.array(kind) for method in task.methods})
    return {
        method.label: dict(zip(sorted(method.curves), map(float, arrays[method.label]), strict=True))
        for method in task.methods
    }


def over_tasks_table(tasks: Sequence[Task], metric: str) -> Table:
    """Tabulate the scores of `same_methods`, scaled per task and pooled."""
    scores = {kind: [scaled(task, kind) for task in tasks] for kind in SCORES}
    rows: list[list[Cell]] = [
        [
            method.label,
            *(estimate([np.array([*task[method.label].values()]) for task in scores[kind]]) for kind in SCORES),
        ]
        for method in tasks[0].methods
    ]
    caption = (
        f"{described(metric)} over {len(tasks)} tasks, scaled on each to {SCALED}. {IQM}, runs of all tasks pooled, "
        f"with {INTERVAL} in all tasks; seeds are resampled within tasks."
    )
    return Table(caption, ["method", *called(metric)], rows)


def over_tasks_ablation_table(tasks: Sequence[Task], reference: str, metric: str, score: str) -> Table:
    """Tabulate every method of `same_methods` minus the reference, by task and seed, in scaled scores."""
    scores = {kind: [scaled(task, kind) for task in tasks] for kind in (score, "auc")}
    rows: list[list[Cell]] = [
        [method.label, *(pooled_difference(scores[kind], method.label, reference) for kind in scores)]
        for method in tasks[0].methods
        if method.label != reference
    ]
    caption = (
        f"Difference to {reference} in {described(metric)} over {len(tasks)} tasks, scaled on each to {SCALED}. {IQM} "
        "of the differences between runs of the same task and seed, tasks pooled, with "
        f"{INTERVAL} in all tasks; seeds are resampled within tasks."
    )
    return Table(caption, ["method", *scores], rows)


def pooled_difference(tasks: Sequence[dict[str, dict[int, float]]], name: str, reference: str) -> Estimate | None:
    """Estimate the IQM of differences by task and seed; None where a task has no seed in common."""
    strata = [
        np.array([task[name][seed] - task[reference][seed] for seed in sorted(task[name].keys() & task[reference])])
        for task in tasks
    ]
    return estimate(strata) if all(map(len, strata)) else None


def bars(tasks: Sequence[Task], reference: str, score: str) -> dict[str, dict[str, Estimate]]:
    """Return task -> method -> difference to the reference in ``score``, where there is one."""
    found: dict[str, dict[str, Estimate]] = defaultdict(dict)
    for task, method, base in against(tasks, reference):
        difference = paired_difference(method.scores(score), base.scores(score))
        if difference is not None:
            found[task.label][method.label] = difference
    return found
