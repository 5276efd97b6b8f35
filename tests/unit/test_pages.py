"""Pages: their generated tables are those of their files, their links lead somewhere, and the paths they name exist."""

from __future__ import annotations

import importlib
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.paths import ROOT

from analysis.page import MARK, fill
from assembly.registries import REGISTRIES
from config.command_line import parse_command_line
from config.loader import layers
from config.resolve import make_config

FOLDERS = ("", "docs/", "opponents/", "results/first/", "results/paper/", "zoo/")
PAGES = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}*.md"))]
GENERATED = [page for page in PAGES if f"\n{MARK}" in (ROOT / page).read_text()]
COMMANDS = "".join(path.read_text() for path in [*ROOT.glob("tools/*.sh"), *ROOT.glob("docs/*.md")])


def anchors(text: str) -> set[str]:
    """What a link may name after ``#``: a page's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_are_pages() -> None:
    assert len(GENERATED) >= 5
    assert Path("README.md") in PAGES


def test_the_readme_names_every_command_and_every_room() -> None:
    paths = [*ROOT.glob("src/*.py"), *ROOT.glob("src/*/__init__.py"), *ROOT.glob("tools/*.sh"), *ROOT.glob("*.sh")]
    names = [str(path.relative_to(ROOT)).replace("__init__.py", "") for path in paths]
    text = (ROOT / "README.md").read_text()
    assert [name for name in names if not re.search(rf"`(\./)?{name}`", text)] == []


@pytest.mark.parametrize("page", GENERATED, ids=str)
def test_generated_tables_are_those_of_their_files(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr("analysis.page.write_atomic", lambda path, content: written.append(content))
    fill(ROOT / page)
    assert written == [(ROOT / page).read_bytes()]


@pytest.mark.parametrize("page", [page for page in GENERATED if page.parent.name != "zoo"], ids=str)  # zoo.py's own
def test_a_command_refreshes_every_generated_page(page: Path) -> None:
    of_any_task = re.sub(r"(bar|battle|pursuit|spread)\.md$", "$task.md", str(page))
    commands = COMMANDS.replace("$out/", "results/first/")
    names = "|".join(re.escape(str(name)) for name in (page, of_any_task))
    assert re.search(rf'(--page |^fill .*)"?({names})\b', commands, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if not link.startswith("http"):
            name, _, anchor = link.partition("#")
            target = ROOT / page.parent / name if name else ROOT / page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=str)
def test_paths_in_code_font_exist(page: Path) -> None:
    named = re.findall(r"`((?:src|tests|tools|docs|opponents)/[\w./]*\w)/?(?:: \w+)?`", (ROOT / page).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def without_speeds(line: str) -> str:
    """A line of output without what depends on the machine and on what else it does."""
    return re.sub(r"(\d+ steps/s|left [\d:]+)", "_", line.strip())


@pytest.mark.slow
def test_the_output_that_the_readme_prints_is_what_its_command_prints(tmp_path: Path) -> None:
    block = re.search(r"^    \$ python ([\s\S]*?[^\\])\n((?:    .*\n)+)", (ROOT / "README.md").read_text(), re.M)
    assert block is not None
    main, *words = shlex.split(block[1].replace("\\\n", " "))
    words.append(f"local_results_path={tmp_path / 'results'}")
    done = subprocess.run([sys.executable, ROOT / main, *words], capture_output=True, text=True, check=True)
    printed = [without_speeds(line) for line in done.stdout.replace(f"{tmp_path}/", "").splitlines()]
    begin, end = (part.splitlines() for part in block[2].split("    ...\n"))
    assert [without_speeds(line) for line in begin] == printed[: len(begin)]
    assert [without_speeds(line) for line in end] == printed[-len(end) :]


def test_policies_of_the_zoo_that_are_named_exist() -> None:
    texts = [path.read_text() for path in (*ROOT.glob("src/*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]
    names = {name for text in texts for name in re.findall(r"\b\w+/\w+_s\d+\b", text)}
    assert len(names) > 3
    assert [name for name in sorted(names) if not (ROOT / "zoo" / name).is_dir()] == []


COMMAND = r"^ *(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?python src/(\w+)\.py\b(.*)$"
OWN = {"softmin.yaml", "sarsa.yaml", "rows.yaml", "guess.yaml"}  # what a page has its reader write first


def shown_commands() -> list[tuple[str, str]]:
    """Page and command line of every command of src in the pages, whole where it goes on in the next line."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text().replace("\\\n", " ")
        found += [(str(page), f"{name} {words}") for name, words in re.findall(COMMAND, text, re.MULTILINE)]
    return found


@pytest.mark.parametrize(("page", "command"), shown_commands())
def test_commands_are_understood(page: str, command: str) -> None:
    """By the parser of their file; configurations and experiments that they name exist and fit."""
    name, *words = shlex.split(command, comments=True)
    words = list(itertools.takewhile(lambda word: word not in ("&&", "|", ">"), words))
    known = {path.stem for path in (ROOT / "src/config").glob("*/*.yaml")}
    assert [word for word in words if word.endswith(".yaml") and Path(word).stem in known] == [], "a name, not a path"
    if name != "main":
        arguments = importlib.import_module(name).parse(words)
        asked = [*getattr(arguments, "experiment", []), *getattr(arguments, "at", [])]
        if isinstance(getattr(arguments, "experiment", None), str):
            asked = [arguments.experiment]
        assert [name for name in asked if name not in known and not name.endswith(".yaml")] == []
        return
    if OWN & {word.partition("=")[2] for word in words}:
        return
    arguments = parse_command_line(words)
    if arguments.resume is None:
        make_config(layers(arguments.config, arguments.env_config, arguments.overrides), REGISTRIES)
