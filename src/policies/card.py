"""The card of a policy: what it is, where it is from, how good it was, and how to use it without this project."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from config.schema import Config
from policies.network import ActingNetwork
from records.files import Curve
from records.query import env_name, flatten
from records.store import RunRecord

METRIC, PLAYED = "test_return_mean", "test_n_episodes"
USE = {
    "onnx": 'import onnxruntime\n\nq, *hidden = onnxruntime.InferenceSession("{file}").run(None, {{{arrays}}})',
    "torchscript": 'import torch\n\nq, *hidden = torch.jit.load("{file}")({tensors})',
    "safetensors": 'from safetensors.torch import load_file\n\ntensors = load_file("{file}")  # of this architecture',
}


def card_of(
    record: RunRecord,
    step: int,
    config: Config,
    about: str,
    network: ActingNetwork,
    curves: Mapping[str, Curve],
    last: int,
    made_by: str,
) -> dict[str, Any]:
    """Describe the policy of a run at ``step``.

    ``about``: what its task says of itself; ``curves``: its metrics, whose ``last`` evaluations say how good it is;
    ``made_by``: the version that saved it.
    """
    info = network.info
    return {
        "task": env_name(flatten(config.to_dict())),
        "env_args": dict(config.env_args),
        "task_description": about,
        "meaning": list(info.meaning),
        "algorithm": config.name,
        "run": record.id,
        "step": step,
        "seed": config.seed,
        "version": made_by,
        "commit": (record.entry.get("git") or {}).get("commit"),
        "evaluation": evaluation(curves, step, last, config),
        "weights": "averaged" if config.args.get("average_decay", 0.0) > 0.0 else "online",
        "observation": {
            "shape": list(info.obs_shape),
            "dtype": "float32",
            "stored_as": str(info.obs_dtype).removeprefix("torch."),
            "unit_of_stored": info.obs_scale,
        },
        "action": {"n": info.n_actions, "masked": info.has_avail, "first": info.first_action},
        "agents": {"trained_with": info.n_agents, "any_number": network.n_agents is None},
        "hidden_dim": network.hidden_dim,
        "inputs": network.inputs(),
        "outputs": network.outputs(),
    }


def evaluation(curves: Mapping[str, Curve], step: int, last: int, config: Config) -> dict[str, Any] | None:
    """Average the ``last`` evaluations up to ``step``; None where there was none.

    Episodes are those that were played: copies of the game play as many each, which may be more than were asked for.
    """
    curve, played = curves.get(METRIC, Curve()), curves.get(PLAYED, Curve())
    until = [index for index, at in enumerate(curve.steps) if at <= step][-last:]
    if not until:
        return None
    newest = curve.steps[until[-1]]
    counts = dict(zip(played.steps, played.values, strict=True))
    return {
        "metric": METRIC,
        "value": fmean(curve.part(until).values),
        "step": newest,
        "evaluations": len(until),
        "episodes": int(counts.get(newest, config.test_nepisode)),
    }


def markdown(card: Mapping[str, Any]) -> str:
    """Write the card of an exported file for people."""
    names = [given["name"] for given in card["inputs"]]
    use = USE[card["format"]].format(
        file=card["file"],
        arrays=", ".join(f'"{name}": {name}' for name in names),
        tensors=", ".join(f"{name}={name}" for name in names),
    )
    rows = {
        **facts(card),
        "file": f"{card['file']}, {card['format']}, {card['bytes']:,} bytes",
        "SHA-256": card["sha256"],
        "checked": f"the file chooses the run's action on {card['checked']['equal']:,} of "
        f"{card['checked']['observations']:,} random observations",
    }
    inputs = "\n".join(
        f"| `{given['name']}` | {given['dtype']} | ({', '.join(map(str, given['shape']))}) | {given['meaning']} |"
        for given in card["inputs"]
    )
    outputs = ", ".join(f"`{name}`" for name in card["outputs"])
    body = f"""With this project: `policies.play.load_policy("{card["file"]}").act(obs)`. Without:

```python
{use}
```

| input | dtype | shape | meaning |
| --- | --- | --- | --- |
{inputs}

B games, N agents. Outputs: {outputs}; `q` is (B, N, {card["action"]["n"]})."""
    return sheet(f"{card['algorithm']} on {card['task']}", rows, body, card)


def sheet(title: str, rows: Mapping[str, Any], body: str, card: Mapping[str, Any]) -> str:
    """Lay out a card: a table of ``rows``, ``body``, and the task in its own words."""
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    about = "\n".join(f"    {line}".rstrip() for line in card["task_description"].splitlines())
    return f"# {title}\n\n| what | |\n| --- | --- |\n{table}\n\n{body}\n\nWhat the task says of itself:\n\n{about}\n"


def facts(card: Mapping[str, Any]) -> dict[str, Any]:
    """Say in rows what a policy is, where it is from and how good it was."""
    found, observation, agents = card["evaluation"], card["observation"], card["agents"]
    returned = "never evaluated"
    if found:
        at = f"{found['episodes']} greedy episodes at step {found['step']:,}"
        if found["evaluations"] > 1:
            at = f"mean of {found['evaluations']} evaluations of {found['episodes']} greedy episodes, the last one at "
            at += f"step {found['step']:,}"
        returned = f"{found['value']:.4g} ({found['metric']}, {at})"
    stored = f"{observation['stored_as']} in units of {observation['unit_of_stored']:g}"
    return {
        "task": f"{card['task']} with {settings(card['env_args'])}",
        "trained by": f"{card['algorithm']}, seed {card['seed']}, step {card['step']:,} of run {card['run']}",
        "return": returned,
        "weights": card["weights"],
        "observation of an agent": f"{observation['dtype']} {tuple(observation['shape'])}, in natural units "
        f"(in training {stored})",
        "actions": f"{card['action']['n']}, the one with the highest value"
        + (", among those available" if card["action"]["masked"] else ""),
        "agents": "any number" if agents["any_number"] else f"exactly {agents['trained_with']}, in the order of slots",
        "population in training": agents["trained_with"],
        "saved by": f"version {card['version']}, commit {card['commit']}",
    }


def settings(values: Mapping[str, Any]) -> str:
    """Write ``key=value`` pairs on one line."""
    return ", ".join(f"{key}={value}" for key, value in values.items())
