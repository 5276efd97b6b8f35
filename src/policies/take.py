"""Take a recorded policy away: its acting network as one file of a common format, with a card."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assembly.registries import REGISTRIES
from assembly.saved import read_policy, recorded_config
from config.registry import resolve
from config.schema import Config
from config.trust import Trust
from envs.base import Env
from policies.base import CURE, PolicyError, Values
from policies.card import METRIC, card_of, markdown
from policies.network import ActingNetwork, values_of
from policies.play import READERS, greedy
from records import checkpoint
from records.files import Curve, read_json
from records.store import FileStore
from utils.atomic import write_atomic
from utils.cli import require
from utils.errors import InputError

CPU = torch.device("cpu")
N_CHECKED = 10_000  # observations on which a file must choose what the run's network chooses
ROUNDING = 1e-4  # of values: sums in another order differ by less; actions closer than that are equally good
OF_A_RUN = ("algorithm", "seed", "commit", "env_args", "evaluation")  # of a card: what tells runs of one number apart

Description = Mapping[str, Any]  # what `mac_of_policy` rebuilds a network from


@dataclass(frozen=True)
class Format:
    """How a policy is written."""

    encode: Callable[[ActingNetwork, Description], bytes]
    packages: tuple[str, ...] = ()  # optional ones that this needs


@dataclass(frozen=True)
class RecordedPolicy:
    """A policy of a recorded run, and what is known of it."""

    source: Path  # folder of the checkpoint
    config: Config  # of the run
    state: Mapping[str, Any]  # see `policy_state`
    network: ActingNetwork
    curve: Curve  # of METRIC, to the end of the run
    card: dict[str, Any]


def recorded_policy(store: FileStore, run_id: int, step: str, last: int, trust: Trust) -> RecordedPolicy:
    """Read the policy of a run at ``step`` (a number, best or newest), judged by its ``last`` evaluations until then.

    Raises InputError for what is missing or cannot be taken away.
    """
    record, run_dir = store.get(run_id), store.folder(run_id)
    config = recorded_config(run_dir, trust)
    torch.set_num_threads(config.threads)
    source = checkpoint.exact_folder(run_dir, step)
    state, mac = read_policy(source / checkpoint.POLICY, CPU, trust)
    network = ActingNetwork(mac).eval()
    curves = store.metrics(run_id)
    version = state.get("version", "before 0.2.0")
    env_class: type[Env] = resolve(REGISTRIES["env"], config.env, "env", trust)
    card = card_of(record, int(source.name), config, env_class.about(config.env_args), network, curves, last, version)
    return RecordedPolicy(source, config, state, network, curves.get(METRIC, Curve()), card)


def take_away(store: FileStore, run_id: int, step: str, kind: str, folder: Path, trust: Trust) -> Path:
    """Write the policy of a run at ``step`` (a number, best or newest) as ``kind``, and its card; return the path.

    Raises InputError for what is missing, for what no such file can hold, and for a file that does not choose what the
    run's network chooses.
    """
    for package in FORMATS[kind].packages:
        require(package, CURE)
    policy = recorded_policy(store, run_id, step, 1, trust)
    config, network = policy.config, policy.network
    data = encoded(kind, network, {key: value for key, value in policy.state.items() if key != "mac"})
    path = folder / f"{config.name}_{policy.card['task']}_run{run_id}_step{policy.source.name}.{kind}"
    card = {**policy.card, "format": kind, "file": path.name, "bytes": len(data)}
    card["sha256"] = hashlib.sha256(data).hexdigest()
    _require_own(path, policy.card)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
        try:
            card["checked"] = compared(network, READERS[kind](path, trust))
        except InputError:
            path.unlink()
            raise
        write_atomic(path.with_name(f"{path.name}.json"), json.dumps(card, indent=2).encode())
        write_atomic(path.with_name(f"{path.name}.md"), markdown(card).encode())
    except OSError as error:
        raise PolicyError(f"--out: cannot write {path} ({error.strerror}). Choose another folder.") from error
    return path


def _require_own(path: Path, card: Mapping[str, Any]) -> None:
    """Raise PolicyError where ``path`` is an exported policy of another run: runs of two folders may share a number."""
    if not path.exists():
        return
    own = json.loads(json.dumps({key: card[key] for key in OF_A_RUN}))
    there = read_json(path.with_name(f"{path.name}.json"))
    if {key: there.get(key) for key in OF_A_RUN} != own:
        raise PolicyError(
            f"--out: expected no file of another policy, '{path}' is one (its card says seed {there.get('seed')}, "
            f"commit {there.get('commit')}). Choose another folder, or move it."
        )


def encoded(kind: str, network: ActingNetwork, description: Description) -> bytes:
    """Return the file. Raises PolicyError for a network that this format cannot hold."""
    try:
        with without_warnings():
            return FORMATS[kind].encode(network, description)
    except Exception as error:  # whatever an exporter says of a network of one's own
        raise PolicyError(
            f"export: this network cannot be written as {kind} ({checkpoint.one_line(error)}). Choose another of "
            f"{', '.join(FORMATS)}."
        ) from error


def compared(network: ActingNetwork, values: Values) -> dict[str, int]:
    """Count observations, and those on which ``values`` and ``network`` choose the same action.

    Raises PolicyError where another action is more than a rounding worse.
    """
    own, generator = values_of(network), torch.Generator().manual_seed(0)
    counts = {"observations": 0, "equal": 0}
    while counts["observations"] < N_CHECKED:
        drawn = network.noise(network.games_at_once(N_CHECKED), generator)
        inputs = {name: value.numpy() for name, value in drawn.items()}
        q_BNA = own(inputs)[0]
        best, chosen = greedy(q_BNA, None), greedy(values(inputs)[0], None)
        loss = (q_BNA.max(-1) - np.take_along_axis(q_BNA, chosen[..., None], -1)[..., 0]).max()
        if loss > ROUNDING * max(1.0, abs(q_BNA).max()):
            raise PolicyError(f"export: the file chooses actions that are {loss:.3g} worse than the run's.")
        counts["observations"] += best.size
        counts["equal"] += int((best == chosen).sum())
    return counts


@contextmanager
def without_warnings() -> Iterator[None]:
    """Leave out what exporters say about themselves."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def example(network: ActingNetwork) -> dict[str, torch.Tensor]:
    """Make inputs for tracing: two games, since exporters take an axis of length one for a constant."""
    return network.noise(2, torch.Generator().manual_seed(0))


def to_onnx(network: ActingNetwork, description: Description) -> bytes:
    """Encode as ONNX with any number of games, and of agents where the network serves any."""
    inputs = example(network)
    axes = {0: torch.export.Dim("games")}
    if network.n_agents is None:
        axes[1] = torch.export.Dim("agents")
    program = torch.onnx.export(
        network,
        kwargs=inputs,
        dynamo=True,
        dynamic_shapes=dict.fromkeys(inputs, axes),
        input_names=list(inputs),
        output_names=network.outputs(),
        verbose=False,
    )
    assert program is not None  # of dynamo=True
    model = program.model_proto
    for node in model.graph.node:
        node.ClearField("metadata_props")  # traces of calls, with folders of this machine
    return model.SerializeToString()


def to_torchscript(network: ActingNetwork, description: Description) -> bytes:
    """Encode as TorchScript, which needs torch alone."""
    with torch.no_grad():
        traced = torch.jit.trace(network, example_kwarg_inputs=example(network), check_trace=False)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    return file.getvalue()


def to_safetensors(network: ActingNetwork, description: Description) -> bytes:
    """Encode tensors, and in the file's metadata the configuration that rebuilds the network around them."""
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in network.agent.state_dict().items()}
    return save(tensors, {"policy": json.dumps(description)})


FORMATS = {
    "onnx": Format(to_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torchscript": Format(to_torchscript),
    "safetensors": Format(to_safetensors, ("safetensors",)),
}
