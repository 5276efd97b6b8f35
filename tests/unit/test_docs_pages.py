"""The site's pages: nothing is missing from them, their links lead somewhere, and tools/docs.sh builds them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support.paths import ROOT
from tools import docs_pages

from config.loader import available

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MKDOCS = all(importlib.util.find_spec(name) for name in ("material", "mkdocstrings"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the site, without the runs that say what algorithms log."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docs_pages, "logged", lambda algorithm: ["loss"])
        docs_pages.assemble(folder)
    return folder


def rows(text: str, chapter: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    part = text.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    return [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in part.splitlines() if line.startswith("| `")]


def test_the_committed_table_is_that_of_the_yaml_files() -> None:
    assert docs_pages.HYPERPARAMETERS.read_text() == docs_pages.hyperparameter_page(), "run tools/docs.sh"


def test_the_table_says_what_the_files_say() -> None:
    page = docs_pages.HYPERPARAMETERS.read_text()
    battle = {row[0]: row[1:] for row in rows(page, "battle")}
    assert battle["`batch_size_run`"][:2] == ["2", "8"]
    assert battle["`buffer_size`"][:2] == ["30000", "–"]
    assert battle["`hidden_dims`"][:2] == ["[256, 128]", "[128, 64]"]
    assert battle["`kill_reward`"][:2] == ["5", "float"]
    assert "| key | replay | rollout (default) |  |" in page


def test_every_algorithm_has_a_page_that_explains_all_its_keys(site: Path) -> None:
    pages = {path.stem: path.read_text() for path in (site / "docs/algorithms").iterdir()}
    assert sorted(pages) == available("algs")
    for name, text in pages.items():
        assert "difference: ." not in text, name
        assert [row for row in rows(text, "Keys") if len(row) < 3] == [], name
        assert [row for row in rows(text, "What it logs") if len(row) < 2] == [], name
    with_a_paper = {"iql", "mfq", "mfq_reference", "mfvfd", "maddpg", "vdn", "qmix", "hmf", "hmf_literal", "hmf_ipc"}
    assert {name for name, text in pages.items() if "\n## Departures from its paper\n" in text} == with_a_paper
    assert "| `reg_coef` | 0.0 (own) | weight of the regulariser |" in pages["hmf"]
    assert "Σ_k alive_k Q(o_k, a_k) learns the team's reward" in pages["vdn"]
    for second_then_first in (r"-32\.84 \[-33\.31, -32\.04\] \| 0\.\d", r"-30\.32 \[-31\.29, -29\.94\] \| 1\.4"):
        assert re.search(rf"^\| spread \| {second_then_first} \|$", pages["vdn"], re.MULTILINE)


def test_every_task_has_a_page_with_its_statistics(site: Path) -> None:
    pages = {path.stem: path.read_text() for path in (site / "docs/tasks").iterdir()}
    assert sorted(pages) == docs_pages.tasks()
    assert [name for name, text in pages.items() if "## Its own statistics" not in text] == []
    assert "`hawk_dove`" in pages["matrix_game"]
    assert "[iql](../algorithms/iql.md)" in pages["bar"]


def test_what_an_algorithm_logs_is_explained() -> None:
    metrics = docs_pages.logged("vdn")
    assert {"loss", "td_error_abs", "return_gini"} <= {*metrics}
    assert [name for name in metrics if name not in docs_pages.explained()] == []


def test_links_of_the_site_lead_somewhere(site: Path) -> None:
    docs = site / "docs"
    for page in docs.rglob("*.md"):
        for _, _, target in docs_pages.LINK.findall(page.read_text()):
            if not target.startswith(("http", "#")):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.relative_to(docs)}: {target}"


def test_every_page_has_a_place_in_the_contents(site: Path) -> None:
    nav = yaml.safe_load((site / "mkdocs.yml").read_text())["nav"]
    listed = [path for part in nav for paths in part.values() for path in paths]
    pages = {str(path.relative_to(site / "docs")) for path in (site / "docs").rglob("*.md")}
    of_folders = {path for path in pages if path.startswith(("zoo/", "results/")) and path not in listed}
    assert sorted(listed) == sorted(pages - of_folders)
    tables = {"zoo/table.md", "results/paper/default.md"}
    assert all(path.count("/") > 1 or path in tables for path in of_folders), "cards and tables, one click further"
    assert "results/first/README.md" in listed


def test_modules_of_the_reference_exist() -> None:
    modules = [module for modules in docs_pages.API.values() for module in modules]
    assert [name for name in modules if not (ROOT / "src" / f"{name.replace('.', '/')}.py").exists()] == []


def test_without_its_packages_the_script_names_the_cure() -> None:
    done = subprocess.run(
        [ROOT / "tools/docs.sh"], env={**os.environ, "PYTHON": "false"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.endswith("Install them: ./install_dependencies.sh --docs\n")


@pytest.mark.slow
@pytest.mark.skipif(not MKDOCS, reason="needs requirements-docs.txt")
def test_the_site_is_built_with_search_and_reference() -> None:
    subprocess.run([ROOT / "tools/docs.sh"], env={**os.environ, "PYTHON": sys.executable}, check=True)
    site = ROOT / "results/tmp/docs/site"
    assert "what-is-logged" in (site / "docs/algorithms.html").read_text()
    assert 'id="hmf.train"' in (site / "api/runs_from_python.html").read_text()
    assert "td_error_abs" in (site / "search/search_index.json").read_text()
    assert 'src="assets/iframe-worker.js"' in (site / "index.html").read_text(), "which searches without a server"
    if CHROMIUM:
        page = f"file://{site}/index.html?q=exploitability"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]
        shown = subprocess.run([CHROMIUM, *options, page], capture_output=True, text=True, check=True).stdout
        assert re.search(r"[1-9]\d* matching documents", shown), "search without a server"
    assert not re.search(r"(src|stylesheet)[^>]+https?://", (site / "index.html").read_text()), "fetched from elsewhere"
