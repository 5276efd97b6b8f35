"""Pages that nobody types twice: keys, values, metrics and results of every task and algorithm, from where they stand.

``docs_pages.py FOLDER`` writes the sources of the site, with its table of contents, into FOLDER, and
``docs_pages.py`` alone refreshes docs/hyperparameters.md. tools/docs.sh calls both.
"""

from __future__ import annotations

import csv
import inspect
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import hmf
from assembly.parts import make_env
from assembly.registries import REGISTRIES
from config.loader import CONFIG_DIR, Layer, available, for_regime, merge, named_layer, read_yaml, stacked
from config.registry import config_keys, resolve
from config.resolve import make_config
from config.schema import Config, type_name
from utils.words import to_yaml

ROOT = Path(__file__).resolve().parents[1]
HYPERPARAMETERS = ROOT / "docs" / "hyperparameters.md"
FIRST = "results/first/comparison"
COMPARISONS = {  # folder of its tables -> what it is, the newest first
    "results/paper/all": "In the [comparison](../results/paper/README.md), equally tuned (interquartile mean "
    "over eight seeds of the last five evaluations of a run, with its interval):\n",
    FIRST: "In the [first comparison](../results/first/README.md), smaller and tuned by nobody, "
    "whose `hmf` is `hmf_expected` now (interquartile mean over four seeds of the last evaluation, "
    "from the worst seed to the best):\n",
}
UNCOMPARED = "It is in none of the [comparisons](../results/paper/README.md)."
STAND = "Minutes: of a run, on a machine of two cores that it shared. Budgets, curves and limits are on those pages.\n"
REGIMES = ("replay", "rollout")
NO_HYPERPARAMETERS = {  # keys that every run reads and that change nothing learned, or are a task's own
    *("env_args", "test_env_args", "opponent_config", "seed", "threads", "use_cuda", "local_results_path"),
    *("log_interval", "evaluate", "tensorboard", "tracker", "test_online"),
    *("save_model", "save_model_interval", "keep_checkpoints", "save_replay", "checkpoint_path", "load_step"),
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
KEPT = {".md", ".png", ".gif", ".svg", ".ipynb"}  # what a link of the site may lead to
FIRST_RESULTS = "The first comparison"
# Sections of the site, and their pages in order; the generated ones are added to theirs.
CONTENTS: dict[str, list[str]] = {
    "Start": [
        "README.md",
        "docs/install.md",
        "docs/python.md",
        "docs/tutorial.md",
        "docs/experiments.md",
        "docs/records.md",
        "docs/policies.md",
        "docs/troubleshooting.md",
    ],
    "Algorithms": ["docs/algorithms.md", "docs/equations.md", "docs/printed_losses.md", "docs/default_choice.md"],
    "Tasks": ["docs/hyperparameters.md", "docs/pettingzoo.md"],
    "Results": [
        "results/paper/README.md",
        "results/paper/verdicts.md",
        "results/paper/bar.md",
        "results/paper/battle.md",
        "results/paper/pursuit.md",
        "results/paper/spread.md",
        "results/paper/arena.md",
        "docs/credit.md",
        "docs/credit_bar.md",
        "docs/credit_battle.md",
        "docs/credit_pursuit.md",
        "docs/credit_spread.md",
        "docs/protocol.md",
        "zoo/README.md",
    ],
    "How good is the software": [
        "docs/learning_speed.md",
        "docs/performance.md",
        "docs/reliability.md",
        "docs/validation.md",
        "docs/distributed.md",
    ],
    FIRST_RESULTS: ["results/first/README.md"],
    "Your own": ["docs/own_study.md", "docs/new_environment.md", "docs/new_algorithm.md"],
    "API": [],
    "More": [],
}
API = {  # page -> modules, in the order in which a reader needs them
    "Runs from Python": ["hmf", "policies.play", "records.store", "export"],
    "Environments": ["envs.base", "envs.torch_env", "envs.opponents", "components.batch"],
    "Algorithms": ["learners.base", "learners.regimes", "controllers.basic_controller", "modules.agents.base"],
    "Formulas": ["components.returns", "components.mean_field", "components.grouping", "components.selectors"],
    "Configuration": ["config.schema", "config.loader", "config.command_line", "config.registry", "config.trust"],
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a pipe table; nothing for no rows."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if rows else ""


def comments(path: Path) -> dict[str, str]:
    """Read key -> what a comment behind it says, of a YAML file."""
    return dict(re.findall(r"^ *(\w+):.*? # (.*)$", path.read_text(), re.MULTILINE))


def head_comment(path: Path) -> str:
    """Read the comment that a YAML file begins with."""
    lines = path.read_text().splitlines()
    return " ".join(line[2:] for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")])


def chosen(folder: str, name: str) -> Path:
    """The file of a configuration."""
    return CONFIG_DIR / folder / f"{name}.yaml"


def base_of(folder: str, name: str) -> str | None:
    """The configuration that another one starts from."""
    found = re.search(r"^base: (\w+)", chosen(folder, name).read_text(), re.MULTILINE)
    return found[1] if found else None


def tasks() -> list[str]:
    """Environments that are no variants of others."""
    return [name for name in available("envs") if base_of("envs", name) is None]


@cache
def explained() -> dict[str, str]:
    """Key or metric -> its explanation, from default.yaml or else from the tables of docs/algorithms.md.

    A row of two names whose text has two parts, with a semicolon between them, gives each its part.
    """
    found: dict[str, str] = {}
    text = (ROOT / "docs" / "algorithms.md").read_text()
    for cell, meaning in re.findall(r"^\| (`[^|]+?) \| (.+) \|$", text, re.MULTILINE):
        names, parts = re.findall(r"`(\w+)`", cell), rooted(meaning).split("; ")
        found |= zip(names, parts if len(parts) == len(names) else [rooted(meaning)] * len(names), strict=True)
    return found | comments(CONFIG_DIR / "default.yaml")


def rooted(text: str) -> str:
    """Links of a page in docs as those of a page in another folder beside it."""
    return LINK.sub(lambda link: f"{link[1]}[{link[2]}]({target_from_docs(link[3])})", text)


def target_from_docs(target: str) -> str:
    """A link's target in docs/algorithms.md, seen from a folder beside docs."""
    if target.startswith("http"):
        return target
    return f"../docs/algorithms.md{target}" if target.startswith("#") else f"../docs/{target}"


def config_of(task: str, algorithm: str, regime: str | None) -> Config:
    """The configuration of an algorithm on a task, in a regime or in that of the task."""
    given = Layer("", {} if regime is None else {"regime": regime})
    return make_config(stacked(named_layer("envs", task), algorithm, given), REGISTRIES)[0]


def hyperparameters(task: str) -> str:
    """The table of a task: every key of learning that HMF reads there, in both regimes, from the YAML files."""
    columns = [flat(config_of(task, "hmf", regime)) for regime in REGIMES]
    own = config_of(task, "hmf", None).regime
    default = read_yaml(CONFIG_DIR / "default.yaml")
    of_hmf = read_yaml(chosen("algs", "hmf")).keys()
    meaning = explained()
    keys = [key for key in default if key not in of_hmf and any(key in column for column in columns)]
    rows = [
        [f"`{key}`", *(to_yaml(column[key]) if key in column else "–" for column in columns), meaning.get(key, "")]
        for key in keys
        if key not in NO_HYPERPARAMETERS and key not in REGISTRIES
    ]
    head = [f"{regime} (default)" if regime == own else regime for regime in REGIMES]
    return table(["key", *head, ""], rows)


def flat(config: Config) -> dict[str, Any]:
    """Configuration keys and values, without those of environments."""
    return {key: value for key, value in config.to_dict().items() if not isinstance(value, Mapping)}


def arguments(task: str) -> str:
    """The table of a task's env_args: value, type and meaning."""
    values = named_layer("envs", task).values
    hints = config_keys(resolve(REGISTRIES["env"], values["env"], "env"))
    meaning = comments(chosen("envs", task))
    rows = [
        [f"`{key}`", to_yaml(value), type_name(hints[key]), meaning.get(key, "")]
        for key, value in values["env_args"].items()
    ]
    return table(["env_args", "value", "type", ""], rows)


def hyperparameter_page() -> str:
    """docs/hyperparameters.md."""
    parts = [
        "# Hyper-parameters of every task\n",
        "<!-- made by tools/docs.sh from src/config; change the YAML files, not this page -->\n",
        "From `src/config/default.yaml` and the files of `src/config/envs`, for both",
        "[regimes](algorithms.md#two-regimes-of-learning): – where a regime does not read the key. All algorithms",
        "share these values unless their own file says otherwise (`n_groups` and `ipc_features` are HMF's); keys of",
        "single algorithms are in [algorithms](algorithms.md). All values of a run:",
        "`python src/main.py print_config --config=hmf --env-config=battle`.",
    ]
    for task in tasks():
        meaning = (
            hyperparameters(task).replace("](../docs/algorithms.md", "](algorithms.md").replace("](../docs/", "](")
        )
        parts += [f"\n## {task}\n", f"{head_comment(chosen('envs', task))}\n", arguments(task), meaning.rstrip()]
    return "\n".join(parts) + "\n"


@cache
def results(folder: str) -> list[tuple[str, str, str, str]]:
    """Method, task, score with its interval and minutes of a run, as the tables of a comparison have them."""
    with (ROOT / folder / "cost.csv").open() as file:
        minutes = {(row["method"], row["task"]): float(row["minutes"]) for row in csv.DictReader(file)}
    with (ROOT / folder / "overview.csv").open() as file:
        rows = list(csv.DictReader(file))
    timed = dict.fromkeys(task for _, task in minutes)  # other columns, such as exploitability, are no tasks
    return [
        (
            row["method"],
            task,
            f"{float(row[task]):.4g} [{float(row[f'{task}_low']):.4g}, {float(row[f'{task}_high']):.4g}]",
            f"{minutes[row['method'], task]:.1f}",
        )
        for row in rows
        for task in timed
        if row[task]
    ]


def standing(head: Sequence[str], chosen: Callable[[str], list[list[str]]]) -> list[str]:
    """The part of a page on results: a table of each comparison, of what ``chosen`` finds in its folder."""
    found = {folder: chosen(folder) for folder in COMPARISONS}
    if not any(found.values()):
        return []
    tables = [f"{COMPARISONS[folder]}\n{table(head, rows)}" for folder, rows in found.items() if rows]
    return ["## Where results stand\n", *tables, STAND]


def logged(algorithm: str) -> list[str]:
    """Metrics that a run of a few steps logs, without those of evaluation and of the task."""
    small = {"n_agents": 6, "capacity": 3, "episode_limit": 3}
    keys = {"env_args": small, "n_groups": 2, "test_nepisode": 2, "log_interval": 48}
    if config_of("bar", algorithm, None).t_max > 1:  # else it only plays
        keys["t_max"] = 48
    with tempfile.TemporaryDirectory() as folder:
        run = hmf.train(
            algorithm, "bar", {**keys, "regime": "replay", "batch_size": 8, "learning_starts": 16}, results=folder
        )
        names = {name.removeprefix("test_") for name in run.curves()}
    return sorted(names - {*make_env(config_of("bar", algorithm, None), n_envs=1, test=True).info.stats})


def mentions(algorithm: str) -> list[str]:
    """Links to the pages of results that have the algorithm, or a variant of it, in a table."""
    cell = re.compile(rf"^\|.* {algorithm}(?: [^|]*)? \|", re.MULTILINE)
    found = []
    for page in committed():
        text = (ROOT / page).read_text()
        if re.match(r"results/|docs/(credit|printed|learning)", str(page)) and text[:2] == "# " and cell.search(text):
            found.append(f"[{text[2:].splitlines()[0]}](../{page})")
    return found


def section(algorithm: str) -> str:
    """What docs/algorithms.md says about an algorithm: its chapter, or its row among the ablations."""
    text = (ROOT / "docs" / "algorithms.md").read_text()
    for heading, body in re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", text, re.MULTILINE):
        if algorithm in heading.split(", "):
            return rooted(body.strip()).replace("**Departures.** ", "## Departures from its paper\n\n")
    row = re.search(rf"^\| `{algorithm}` \| (.+) \|$", text, re.MULTILINE)
    base = base_of("algs", algorithm)
    return f"As [{base}]({base}.md), with this difference: {rooted(row[1]) if row else ''}."


def algorithm_page(algorithm: str, metrics: Sequence[str]) -> str:
    """The page of an algorithm, which logs ``metrics``."""
    config, meaning = config_of("bar", algorithm, "replay"), explained()
    values = for_regime([Layer("", read_yaml(CONFIG_DIR / "default.yaml")), named_layer("algs", algorithm)])
    own, given = values[-1].values, merge(values[0].values, values[1].values)
    rows = [
        [f"`{key}`", f"{to_yaml(given[key])}{' (own)' if key in own else ''}", meaning.get(key, "")]
        for key in sorted(config.args, key=lambda key: (key not in own, key))
    ]

    def compared(folder: str) -> list[list[str]]:
        name = algorithm
        if folder == FIRST:  # before the default changed
            name = {"hmf_expected": "hmf", "hmf": ""}.get(algorithm, algorithm)
        return [[task, *found] for method, task, *found in results(folder) if method == name]

    return "\n".join(
        [
            f"# {algorithm}\n",
            f"{head_comment(chosen('algs', algorithm))}\n",
            f"{section(algorithm)}\n",
            "## Keys\n",
            "Values of `src/config/default.yaml`, or the algorithm's own, in the replay regime; "
            "[tasks](../docs/hyperparameters.md) and the rollout regime have others.\n",
            table(["key", "value", ""], rows),
            "## What it logs\n",
            "The task adds its statistics; evaluations log those of episodes with the prefix `test_`.\n",
            table(["metric", ""], [[f"`{name}`", meaning.get(name, "")] for name in metrics]),
            *(standing(["task", "return", "minutes"], compared) or [f"{UNCOMPARED}\n"]),
            *([f"In tables of: {'; '.join(named)}.\n"] if (named := mentions(algorithm)) else []),
        ]
    )


def statistics() -> dict[str, str]:
    """Task -> what docs/algorithms.md says about its own statistics."""
    text = (ROOT / "docs" / "algorithms.md").read_text()
    listed = re.search(r"^The environment adds its own: ([\s\S]*?)\.\n", text, re.MULTILINE)
    assert listed is not None
    words = [part.strip() for part in " ".join(listed[1].split()).split(";")]
    return {word.removeprefix("the ").split()[0].lower(): word for word in words}


def explained_arguments(docstring: str) -> str:
    """Write a docstring as Markdown, the lines ``name, name: what it is`` as a list."""
    text = docstring.replace("``", "`")
    return re.sub(r"^([a-z_]+(?:, [a-z_]+)*):", r"* **\1**:", text, flags=re.MULTILINE)


def task_page(task: str) -> str:
    """The page of a task."""
    env_class = resolve(REGISTRIES["env"], named_layer("envs", task).values["env"], "env")
    variants = [
        [f"`{name}`", head_comment(chosen("envs", name))] for name in available("envs") if base_of("envs", name) == task
    ]

    def compared(folder: str) -> list[list[str]]:
        return sorted(
            [name.removeprefix(f"{task} "), f"[{method}](../algorithms/{method}.md)", *found]
            for method, name, *found in results(folder)
            if name.split()[0] == task
        )

    curves = [path for folder in COMPARISONS if (path := ROOT / folder / f"curves_{task}.png").exists()]
    parts = [
        f"# {task}\n",
        f"{head_comment(chosen('envs', task))}\n",
        f"{explained_arguments(inspect.cleandoc(env_class.__doc__ or ''))}\n",
        "## Arguments\n",
        arguments(task),
        *(["## Variants\n", table(["file", ""], variants)] if variants else []),
        "## Hyper-parameters\n",
        hyperparameters(task),
    ]
    own = statistics().get(task.partition("_")[0])
    parts += ["## Its own statistics\n", f"{own}.\n"] if own else []
    parts += standing(["variant", "method", "return", "minutes"], compared)
    parts += [f"![Learning curves](../{path.relative_to(ROOT)})" for path in curves[:1]]
    return "\n".join(parts)


def api_page(title: str, modules: Sequence[str]) -> str:
    """A page of docstrings, for mkdocstrings."""
    return f"# {title}\n\n" + "".join(f"::: {module}\n\n" for module in modules)


def notebook(text: str) -> str:
    """A notebook as Markdown."""
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
    return "\n\n".join(source if kind == "markdown" else f"```python\n{source}\n```" for source, kind in cells) + "\n"


def committed() -> list[Path]:
    """Pages of the project, relative to it."""
    folders = ("", "docs/", "opponents/", "results/first/", "results/paper/", "zoo/")
    return [path.relative_to(ROOT) for folder in folders for path in sorted(ROOT.glob(f"{folder}*.md"))]


def copy_page(page: Path, out: Path) -> Iterator[Path]:
    """Copy a page; list what its links lead to. A link to what the site does not show becomes plain text."""

    def link(match: re.Match[str]) -> str:
        target, hash_sign, anchor = match[3].partition("#")
        path = (ROOT / page.parent / target).resolve()
        if match[3].startswith(("http", "#")):
            return match[0]
        if path.suffix not in KEPT or not path.is_relative_to(ROOT):
            return match[2]
        linked.append(path.relative_to(ROOT))
        shown = target.replace(".ipynb", ".md")
        return f"{match[1]}[{match[2]}]({shown}{hash_sign}{anchor})"

    linked: list[Path] = []
    source = (ROOT / page).read_text()
    text = LINK.sub(link, notebook(source) if page.suffix == ".ipynb" else source)
    place = (out / page).with_suffix(".md")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    yield from linked


def assemble(out: Path) -> None:
    """Write the sources of the site into ``out/docs``, and ``out/mkdocs.yml``, which says what is in it."""
    docs = out / "docs"
    shutil.rmtree(docs, ignore_errors=True)
    pages = committed()
    for page in pages:  # which grows: by pages of other folders that one leads to
        for path in copy_page(page, docs):
            if path.suffix in {".md", ".ipynb"}:
                pages += [path] if path not in pages else []
            else:
                (docs / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, docs / path)
    made = {f"algorithms/{name}.md": algorithm_page(name, logged(name)) for name in available("algs")}
    made |= {f"tasks/{name}.md": task_page(name) for name in tasks()}
    made |= {f"api/{title.lower().replace(' ', '_')}.md": api_page(title, modules) for title, modules in API.items()}
    for name, text in made.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text)
        for image in re.findall(r"!\[[^\]]*\]\(\.\./([^)]+)\)", text):
            (docs / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / image, docs / image)
    (out / "mkdocs.yml").write_text(yaml.safe_dump(settings(made, pages), sort_keys=False, allow_unicode=True))


def settings(made: Mapping[str, str], pages: Sequence[Path]) -> dict[str, Any]:
    """What mkdocs needs to know beside the project's mkdocs.yml: folders, and the table of contents."""
    nav: dict[str, list[Any]] = {title: [*paths] for title, paths in CONTENTS.items()}
    for path in made:
        nav[path.partition("/")[0].capitalize().replace("Api", "API")].append(path)
    listed = {path for paths in nav.values() for path in paths}
    others = [path for page in pages if (path := str(page.with_suffix(".md"))) not in listed]
    shown = {str(page) for page in committed()}  # the rest, such as cards of the zoo, is reached from these
    for path in others:
        if path in shown and (ROOT / path).read_text().startswith("# "):
            nav[FIRST_RESULTS if path.startswith("results/first/") else "More"].append(path)
    return {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": "docs",
        "site_dir": "site",
        "theme": {"custom_dir": str(ROOT / "tools" / "docs_theme")},
        "nav": [{title: paths} for title, paths in nav.items()],
    }


if __name__ == "__main__":
    if sys.argv[1:]:
        assemble(Path(sys.argv[1]))
    else:
        HYPERPARAMETERS.write_text(hyperparameter_page())
