"""Configuration: layers, strict checks, and messages that say how to mend the line."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from assembly.registries import REGISTRIES
from components.grouping import RandomGrouping
from config import loader
from config.checked import ELSEWHERE, component_keys
from config.command_line import parse_command_line
from config.loader import Layer, layers, parse_overrides, without
from config.ranges import RANGES
from config.registry import RegistryError, config_keys, resolve
from config.registry import make as registry_make
from config.resolve import config_from_dict, env_values, make_config
from config.schema import ConfigError, check_value, framework_keys
from envs.bar import Bar
from modules.mixers.vdn import VDNMixer


def make(algorithm: str = "hmf", environment: str = "bar", *words: str) -> tuple[Any, list[str]]:
    return make_config(layers(algorithm, environment, list(words)), REGISTRIES)


def test_layers_override_in_order() -> None:
    config, _ = make("hmf", "bar", "lr=0.25", "env_args.capacity=30")
    assert config.args["gamma"] == 0.9  # environment over default
    assert config.learner == "hmf_learner"  # algorithm over default
    assert config.args["lr"] == 0.25  # command line over all
    assert config.env_args["capacity"] == 30
    assert config.env_args["n_agents"] == 100  # mappings merge key by key


@pytest.mark.parametrize(
    ("written", "lr", "t_max"), [("1e-3", 0.001, "1e6"), ("+1.5E-3", 0.0015, "1000000"), (".1e-2", 0.001, "1.0e+6")]
)
def test_numbers_may_be_written_with_an_exponent(written: str, lr: float, t_max: str, tmp_path: Path) -> None:
    """On the command line, in files, and inside what an environment gets as it is; text that looks alike stays text."""
    config, _ = make("hmf", "pettingzoo", f"lr={written}", f"t_max={t_max}", f"env_args.kwargs.x={written}")
    assert (config.args["lr"], config.t_max, config.env_args["kwargs"]) == (lr, 10**6, {"x": lr})
    assert type(config.t_max) is int
    path = tmp_path / "mine.yaml"
    path.write_text(f"lr: {written}\nname: '{written}'\nhash: 1e3f")
    assert loader.read_yaml(path) == {"lr": lr, "name": written, "hash": "1e3f"}


def test_the_configuration_cannot_be_changed() -> None:
    config, _ = make()
    with pytest.raises(AttributeError):
        config.t_max = 1
    with pytest.raises(TypeError):
        config.env_args["capacity"] = 1


def test_a_recorded_configuration_rebuilds_itself() -> None:
    config, _ = make()
    assert config_from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learnig_starts=5", r"command line: unknown key 'learnig_starts'\. Did you mean 'learning_starts'\?"),
        ("capacity=5", r"command line: unknown key 'capacity'\. Write env_args\.capacity\."),
        ("env_args.capasity=5", r"unknown key 'env_args\.capasity'\. Did you mean 'env_args\.capacity'\?"),
        (
            "env.n_agents=3",
            r"command line: env expects the name .* got \{'n_agents': 3\}\. Write env_args\.n_agents=3\.$",
        ),
        ("lr=abc", r"lr expects float, got 'abc' \(str\)"),
        ("lr='1e-4'", r"lr expects float, got '1e-4' \(str\)\.$"),
        ("t_max=25e-1", r"t_max expects int, got 2\.5 \(float\)\.$"),
        ("use_cuda='false'", r"use_cuda expects bool, got 'false' \(str\)\. Write use_cuda=true or use_cuda=false"),
        ("top_level=own_haed", r"is not one of own_head.*Did you mean 'own_head'\?"),
        ("hidden_dims=64", r"hidden_dims expects list\[int\], got 64"),
        ("hidden_dims=[64,a]", r"hidden_dims\[1\] expects int, got 'a'"),
        ("batch_size=0", r"batch_size expects at least 1, got 0"),
        ("learning_starts=1", r"learning_starts = 1 is less than batch_size = 64"),
        ("env_args=5", r"env_args expects keys and values, got 5"),
        ("--dry-run", "command line: expected --dry-run before the word with, key=value after it"),
        (
            "local_results_path=''",
            r"local_results_path \(--results\) expects a folder, got an empty name",
        ),
        ("lr 0.1", r"expected key=value after with, got 'lr 0\.1'"),
        ("lr=[", r"cannot read the value of 'lr=\['"),
        ("t_max=2.5", r"t_max expects int, got 2\.5 \(float\)\.$"),
        ("t_max=.inf", r"t_max expects int, got inf \(float\)\.$"),
        ("seed=-1", r"seed expects at least 0 and at most 4294967295, got -1"),
        ("seed=999999999999", r"seed expects at least 0 and at most"),
        ("seed=99999999999999999999999", r"seed expects a number below 2\^63, got one of 77 bits"),
        ("lr=" + "9" * 400, r"lr expects a number below 2\^63, got one of 1329 bits"),
        ("t_max=1e30", r"t_max expects a number below 2\^63, got one of 100 bits"),
        ("lr=" + "9" * 5000, r"cannot read the value of 'lr=9+' as YAML"),
        ("lr=2001-99-99", r"cannot read the value of 'lr=2001-99-99' as YAML"),
        ("lr=" + "{a: " * 3000, r"cannot read the value of 'lr=\{a: .*' as YAML"),
        ("lr=-1", r"^command line: lr expects above 0, got -1\.0"),
        ("threads=0", r"threads expects at least 1 and at most 1024, got 0"),
        ("threads=1025", r"threads expects at least 1 and at most 1024, got 1025"),
        ("gamma=1.5", r"gamma expects at least 0 and at most 1, got 1\.5"),
        ("target_update_tau=0", r"target_update_tau expects above 0 and at most 1, got 0"),
        ("average_decay=1", r"average_decay expects at least 0 and below 1, got 1"),
        ("policy_temperature=1e-9", r"policy_temperature expects at least 1e-06, got 1e-09"),
        ("gmf_coef=.nan", r"gmf_coef expects at least 0, got nan"),
        ("hidden_dims=[64,0]", r"hidden_dims expects numbers of at least 1, got \[64, 0\]"),
        ("hidden_dims=[]", r"^command line: hidden_dims expects at least one number, got \[\]"),
    ],
)
def test_bad_overrides_are_explained(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make("hmf", "bar", "regime=replay", word)


class Mono(VDNMixer):
    """As PyMARL's classes, which take one object with all values."""

    def __init__(self, args: Any) -> None: ...


class Keyed(VDNMixer):
    def __init__(self, *, mono_hidden: int) -> None: ...


class Squads(RandomGrouping):
    """A grouping whose only key is that of its base."""


class Hall(Bar):
    def __init__(self, n_envs: int, device: torch.device, n_agents: int) -> None: ...


KEYS_ARE = r"the keys of a class are the keyword-only parameters of its constructor, those after a \*\."


@pytest.mark.parametrize(
    ("algorithm", "words", "message"),
    [
        (
            "vdn",
            [f"mixer={__name__}:Mono", "mono_hidden=4"],
            rf"unknown key 'mono_hidden'\. .*mixer={__name__}:Mono adds no key: {KEYS_ARE}$",
        ),
        ("hmf", [f"grouping={__name__}:Squads", "squads=4"], rf"'squads'\. grouping={__name__}:Squads adds no key: "),
        ("vdn", [f"mixer={__name__}:Keyed", "mono_hiden=4"], r"'mono_hiden'\. Did you mean 'mono_hidden'\?$"),
        ("iql", [f"env={__name__}:Hall"], rf"unknown key 'env_args\.n_agents'\. Known: none; {KEYS_ARE}$"),
    ],
)
def test_classes_that_add_no_keys_are_named(algorithm: str, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(algorithm, "bar", *words)


@pytest.mark.parametrize(("elsewhere", "here"), ELSEWHERE.items())
def test_names_of_other_frameworks_are_known(elsewhere: str, here: str) -> None:
    known = component_keys(REGISTRIES) | set(framework_keys())
    assert elsewhere not in known
    assert here in known
    with pytest.raises(ConfigError, match=rf"command line: unknown key '{elsewhere}'\. Did you mean '{here}'\?$"):
        make("iql", "bar", f"{elsewhere}=1")


@pytest.mark.parametrize("words", [("lr=1", "lr.x=2"), ("env_args=3", "env_args.n_agents=4")])
def test_a_part_of_what_has_a_value_already(words: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"'{words[1]}' sets a part of {words[0][:-2]}, which has a value already"):
        make("hmf", "bar", *words)


def test_every_range_is_one_of_a_key() -> None:
    assert set(RANGES) <= component_keys(REGISTRIES) | set(framework_keys())


def test_own_parts_with_other_parameters_are_explained() -> None:
    class Untyped:
        def __init__(self, *, size) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            self.size = size

    class Lost:
        def __init__(self, n_agentz: int) -> None:
            self.n_agents = n_agentz

    with pytest.raises(RegistryError, match="keyword-only parameter size is a configuration key, whose type is its"):
        config_keys(Untyped)
    with pytest.raises(RegistryError, match=r"among n_agents, got n_agentz\. Did you mean 'n_agents'\?"):
        registry_make(Lost, {}, {"n_agents": 3})


@pytest.mark.parametrize("kind", ["agent", "mixer", "learner", "mac", "grouping", "selector", "env"])
def test_unknown_components_name_the_known_ones(kind: str) -> None:
    with pytest.raises(RegistryError, match=rf"{kind}: unknown name 'nonsense'.*Known: "):
        make("hmf", "bar", f"{kind}=nonsense")


def test_own_components_that_cannot_be_imported_are_explained() -> None:
    with pytest.raises(RegistryError, match="cannot import 'nowhere:Mixer'"):
        make("hmf", "bar", "mixer=nowhere:Mixer")


def test_a_key_that_is_never_read_is_reported() -> None:
    _, notes = make("iql", "bar", "gmf_coef=3.0")
    assert notes == ["note: command line sets gmf_coef, which iql never reads."]


def test_a_component_without_its_key_says_which() -> None:
    with pytest.raises(ConfigError, match="mixer=hmf needs the key 'mean_field_action'"):
        make("iql", "bar", "mixer=hmf")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config=hmf"], "expected --config=ALGORITHM and --env-config=ENVIRONMENT"),
        (["with", "seed=2", "--config=iql"], "expected --config=iql before the word with, key=value after it"),
        (["--config", "--env-config=bar"], "expected one argument"),
        (["--config=hmf", "--env-config=bar", "--seed=3"], "Write: with seed=3"),
        (["--config=hmf", "--env-config=bar", "seed=3"], "Write: with seed=3"),
        (["--config=hmf", "--env-config=bar", "seed"], "do not know 'seed'"),
        (
            ["--config=hmf", "--env-config=bar", "--dryrun"],
            "do not know '--dryrun'.*with key=value. Did you mean '--dry-run'",
        ),
        (
            ["--confg=hmf", "--env-config=bar"],
            "'--confg=hmf' is not an option. Did you mean '--config'. Or write: with",
        ),
        (["--config=hmf", "--env-config=bar", "--threads=2"], "rite: with threads=2"),
        (["print-config", "--config=hmf", "--env-config=bar"], "do not know 'print-config'.* Did you mean 'print_con"),
        (["--config=hfm", "--env-config=bar"], "no algs configuration 'hfm'. Did you mean 'hmf'"),
        (["--config=hmf", "--env-config=batle"], "no envs configuration 'batle'. Did you mean 'battle'"),
        (
            ["--resume=27", "--config=hmf", "--env-config=battle"],
            "expected --resume=27 alone, .* got --config and --env-config too. Leave that out, or .* checkpoint_path=",
        ),
        (["--resume", "27", "--env-config", "battle"], "expected --resume=27 alone, .* got --env-config too. Leave"),
    ],
)
def test_bad_command_lines_are_explained(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_command_line(argv)


def test_the_folder_of_records_has_the_name_that_it_has_everywhere() -> None:
    given = parse_command_line(["--config=hmf", "--env-config=bar", "--results=there", "with", "seed=3"])
    assert parse_overrides(given.overrides).values == {"seed": 3, "local_results_path": "there"}


@pytest.mark.parametrize("name", ["../envs/bar", str(loader.CONFIG_DIR / "envs" / "bar.yaml"), "../default"])
def test_a_file_of_another_folder_is_no_algorithm(name: str) -> None:
    """Nor is it one that default.yaml's values would complete, under default.yaml's name."""
    with pytest.raises(ConfigError, match=r"no algs configuration|expected a file of src/config/algs, .* one of envs"):
        make(name, "bar")


@pytest.mark.parametrize("name", ["nowhere.yaml", "nowhere.yml"])
def test_a_missing_file_of_ones_own_is_said_to_be_missing(name: str) -> None:
    with pytest.raises(ConfigError, match=f"expected a file {name}, there is none in /"):
        make(name, "bar")


def test_missing_files_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no algs configuration 'hfm'\. Did you mean 'hmf'\?"):
        make("hfm", "bar")
    with pytest.raises(ConfigError, match=r"no envs configuration 'batle'\. Did you mean 'battle'\?"):
        make("hmf", "batle")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML: while parsing a flow node"),
        ("just words", "expected 'key: value'"),
        ("1: 2", "expected words as keys, got 1"),
        ("a: " + "{a: " * 3000 + "}" * 3000, "not valid YAML: values within values, too deep to read"),
    ],
)
def test_broken_yaml_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        loader.read_yaml(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_or_no_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"bytes\.yaml: not valid YAML: 'utf-8' codec"):
        loader.read_yaml(tmp_path / "bytes.yaml")
    with pytest.raises(ConfigError, match=r"expected a YAML file, cannot read it \(Is a directory\)"):
        loader.read_yaml(tmp_path)


@pytest.mark.parametrize("base", ["{path}", "3"])
def test_a_base_is_another_file(base: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: " + base.format(path=path))
    with pytest.raises(ConfigError, match="base expects the name of another file of src/config/algs, got"):
        loader.named_layer("algs", str(path))


def test_a_path_of_a_base_is_looked_up_beside_its_file_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "low.yaml").write_text("base: iql\nlr: 0.125\n")
    (tmp_path / "low.yaml").write_text("base: iql\nlr: 0.25\n")
    (tmp_path / "here.yaml").write_text("base: iql\nlr: 0.5\n")
    monkeypatch.chdir(tmp_path)
    for base, lr in (("low.yaml", 0.125), ("here.yaml", 0.5)):
        (tmp_path / "there" / "up.yaml").write_text(f"base: {base}\n")
        assert loader.named_layer("algs", "there/up.yaml").values["lr"] == lr


def test_a_base_beside_its_file_is_another_file_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(f"base: ../{tmp_path.name}/two.yaml")
    (tmp_path / "two.yaml").write_text(f"base: ../{tmp_path.name}/one.yaml")
    with pytest.raises(ConfigError, match="base expects the name of another file of src/config/algs, got"):
        loader.named_layer("algs", str(tmp_path / "one.yaml"))


@pytest.mark.parametrize(
    ("folder", "base", "message"),
    [
        ("experiments", "vdn", r"own\.yaml: base: no experiments configuration 'vdn'\."),
        ("algs", "no.yaml", r"own\.yaml: base: expected a file no\.yaml, there is none beside this one, nor in /"),
    ],
)
def test_a_base_that_is_missing_names_the_file_that_asks(folder: str, base: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"base: {base}")
    with pytest.raises(ConfigError, match=message):
        loader.named_layer(folder, str(path))


def test_a_value_out_of_range_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: iql\nseed: -1\n")
    with pytest.raises(ConfigError, match=rf"^{path}: seed expects at least 0 .*, got -1\.$"):
        make(str(path), "bar")


def test_an_int_is_a_float_but_never_the_other_way() -> None:
    assert check_value("k", 1, float, "here") == 1.0
    assert isinstance(check_value("k", 1, float, "here"), float)
    assert check_value("k", None, int | None, "here") is None
    with pytest.raises(ConfigError, match="here: k expects int, got True"):
        check_value("k", True, int, "here")
    with pytest.raises(ConfigError, match=r"is not one of a \| b"):
        check_value("k", "c", Literal["a", "b"], "here")


@pytest.mark.parametrize(
    ("value", "annotation", "checked"),
    [
        ([1, "a"], tuple[int, str], [1, "a"]),
        ([1, 2.0, 3], tuple[int, ...], [1, 2, 3]),
        ([], tuple[int, ...], []),
        ({"a": 1, "b": 2e3}, dict[str, int], {"a": 1, "b": 2000}),
        ({"a": [1]}, dict[str, list[float]], {"a": [1.0]}),
    ],
)
def test_parts_of_a_value_have_types_of_their_own(value: Any, annotation: Any, checked: Any) -> None:
    assert repr(check_value("k", value, annotation, "here")) == repr(checked)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ([1, 2], tuple[int, str], r"^here: k\[1\] expects str, got 2 \(int\)\.$"),
        ([1], tuple[int, str], r"^here: k expects tuple\[int, str\], got \[1\] \(list\)\.$"),
        ([1, "a"], tuple[int, ...], r"^here: k\[1\] expects int, got 'a'"),
        ({"a": "b"}, dict[str, int], r"^here: k\.a expects int, got 'b' \(str\)\.$"),
        ({1: 2}, dict[str, int], r"^here: k expects dict\[str, int\], got \{1: 2\}"),
    ],
)
def test_a_wrong_part_of_a_value_is_named(value: Any, annotation: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_value("k", value, annotation, "here")


@pytest.mark.parametrize(
    "annotation",
    [Sequence[int], tuple, Path, dict[int, str], list[Path], int | Path, typing.List, typing.Dict],  # noqa: UP006
)
def test_annotations_that_no_value_can_meet_are_refused(annotation: Any) -> None:
    class Own:
        def __init__(self, *, size: annotation) -> None: ...

    Own.__init__.__annotations__["size"] = annotation  # not the text that it is in this file
    with pytest.raises(RegistryError, match=r"^Own: expected a type that YAML .* of the configuration key size, got "):
        config_keys(Own)


@pytest.mark.parametrize("algorithm", loader.available("algs"))
def test_every_algorithm_file_is_valid(algorithm: str) -> None:
    config, notes = make(algorithm, "spread")
    assert config.name == algorithm
    assert notes == []


@pytest.mark.parametrize("environment", loader.available("envs"))
def test_every_environment_file_is_valid(environment: str) -> None:
    words = ["env_args.entry=mpe2.simple_spread_v3"] if environment == "pettingzoo" else []
    assert make("hmf", environment, *words)[1] == []


def test_a_key_has_one_type_wherever_it_is_read() -> None:
    types: dict[str, Any] = {}
    for part, kind in REGISTRIES.items():
        for name in kind.known if part != "env" else ():
            for key, hint in config_keys(resolve(kind, name, part)).items():
                assert types.setdefault(key, hint) == hint, f"{key} of {part}={name}"


def test_a_critic_has_a_layer() -> None:
    with pytest.raises(ConfigError, match=r"critic_hidden_dims expects at least one number, got \[\]"):
        make("maddpg", "bar", "critic_hidden_dims=[]")


def test_overrides_are_yaml() -> None:
    assert parse_overrides(["a=true", "b.c=[1, 2]", "d=null", "e=text"]) == Layer(
        "command line", {"a": True, "b": {"c": [1, 2]}, "d": None, "e": "text"}
    )


def test_parts_of_a_mapping_are_laid_beside_one_another_in_either_order() -> None:
    both = {"env_args": {"n_agents": 40, "n_enemies": 20}}
    words = ["env_args.n_agents=40", "env_args={n_enemies: 20}"]
    assert parse_overrides(words).values == both
    assert parse_overrides(words[::-1]).values == both


@pytest.mark.parametrize("name", ["study #2", "2026", "no"])
def test_a_folder_is_called_what_the_command_line_calls_it(name: str, tmp_path: Path) -> None:
    """Whatever YAML would make of it."""
    words = ["--config=iql", "--env-config=bar", f"--results={tmp_path / name}"]
    given = parse_command_line(words)
    assert parse_overrides(given.overrides).values == {"local_results_path": str(tmp_path / name)}
    bare = parse_command_line([*words[:2], f"--results={name}"])
    assert parse_overrides(bare.overrides).values == {"local_results_path": name}


def test_the_folder_of_results_is_given_once() -> None:
    words = ["--config=iql", "--env-config=bar", "--results=a", "with", "local_results_path=b"]
    with pytest.raises(ConfigError, match="expected one of the two, got --results=a and local_results_path=b"):
        parse_command_line(words)


def test_a_regime_that_is_no_name_is_explained() -> None:
    """It is looked up in every layer's ``regimes`` before types are checked."""
    with pytest.raises(ConfigError, match=r"regime expects str, got \[0\]"):
        make_config(layers("iql", "bar", ["regime=[0]"]), REGISTRIES)


def test_what_a_file_says_counts_before_what_its_base_says_for_a_regime(tmp_path: Path) -> None:
    """The parts of the base count where the file says nothing, its own parts before all."""
    task, method = tmp_path / "task.yaml", tmp_path / "method.yaml"
    task.write_text("base: spread\nlr: 0.0001\nbatch_size_run: 4\n")
    method.write_text("base: mfq_reference\ntd_lambda: 0.5\nregimes: {rollout: {epochs: 3}}\n")
    config, _ = make_config(layers("iql", str(task), []), REGISTRIES)
    assert (config.regime, config.args["lr"], config.batch_size_run) == ("rollout", 0.0001, 4)
    whole, _ = make_config(layers("iql", "spread", []), REGISTRIES)
    assert whole.args["lr"] != 0.0001
    assert config.args["td_lambda"] == whole.args["td_lambda"]
    config, _ = make_config(layers(str(method), "bar", ["regime=rollout"]), REGISTRIES)
    assert (config.args["td_lambda"], config.args["epochs"]) == (0.5, 3)


@pytest.mark.parametrize(
    ("lower", "upper", "left"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 9}, "e": 4}, {"a": 1, "b": {"d": 3}}),
        ({"a": 1, "b": {"c": 2}}, {"a": {"x": 1}, "b": 5}, {}),
        (7, {"a": 1}, 7),
    ],
    ids=str,
)
def test_what_the_upper_has_too_is_left_out(lower: Any, upper: dict[str, Any], left: Any) -> None:
    assert without(lower, upper) == left


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{a: {0: 1}}", r"env_args.kwargs.a expects names that are text .*, got 0\. Name it otherwise"),
        ("{a: {b.c: 1}}", r"env_args.kwargs.a expects names that are text without '\.' .*, got 'b\.c'"),
        ("{a: {$b: 1}}", r"env_args.kwargs.a expects names .*, got '\$b'"),
        ("{a: [{b=c: 1}]}", r"env_args.kwargs.a\[0\] expects names .*, got 'b=c'"),
        ("{a: 2026-01-02}", r"env_args.kwargs.a expects text, numbers, .*, got datetime.date.* Write it as text"),
    ],
)
def test_what_a_record_would_not_give_back_is_refused(written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(layers("iql", "pettingzoo", [f"env_args.kwargs={written}"]), REGISTRIES)


def test_arguments_of_evaluations_are_laid_over_those_of_training_key_by_key() -> None:
    words = ["env_args.kwargs.local_ratio=0.0", "env_args.kwargs.N=5", "test_env_args.kwargs.max_cycles=50"]
    config, _ = make_config(layers("iql", "pettingzoo", words), REGISTRIES)
    given = config.env_args["kwargs"]
    assert env_values(config, test=False)["kwargs"] == given
    assert env_values(config, test=True)["kwargs"] == {**given, "local_ratio": 0.0, "N": 5, "max_cycles": 50}
