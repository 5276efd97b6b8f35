"""tools/omniboard.sh in a real browser: lists a recorded run, plots its metric, listens on this machine only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.paths import ROOT

from records.files import Curve
from records.store import FileStore, RunRecord, utc_now

SCRIPT = ROOT / "tools" / "omniboard.sh"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js with npm on PATH"),
]


class Page:
    """A page of headless Chromium, spoken to over its debugging pipe (null-terminated JSON on descriptors 3 and 4)."""

    def __init__(self, url: str, profile: Path) -> None:
        to_read, self._to_write = os.pipe()
        self._from_read, from_write = os.pipe()
        options = f"--headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir={profile}"
        command = f'exec {CHROMIUM} {options} 3<&{to_read} 4>&{from_write} 2>"{profile}.log"'
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=(to_read, from_write))
        os.close(to_read)
        os.close(from_write)
        self._answers = os.fdopen(self._from_read, "rb")
        target = self._call("Target.createTarget", None, url=url)["targetId"]
        self._session = self._call("Target.attachToTarget", None, targetId=target, flatten=True)["sessionId"]

    def _call(self, method: str, session: str | None, **params: Any) -> dict[str, Any]:
        message = {"id": 1, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(b"".join(iter(lambda: self._answers.read(1), b"\0")))
            if "id" in answer:
                return dict(answer["result"])

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        result = self._call("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        return result["result"].get("value")


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {seconds} s")


@pytest.fixture
def omniboard(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The running script, over one run whose configuration has as many keys as ours have, and its address."""
    now = utc_now().isoformat()
    entry = {
        "experiment": {"name": "hmf_run"},
        "status": "COMPLETED",
        "result": 4.25,
        "start_time": now,
        "heartbeat": now,
        "stop_time": now,
    }
    config = {"name": "hmf", "env": "battle", "seed": 37, **{f"key_{index}": index for index in range(100)}}
    curves = {name: Curve([0, 100, 200], [0.0, 1.0, 4.0], [now] * 3) for name in ("loss", "test_return_mean")}
    FileStore(tmp_path / "runs" / "sacred").put(RunRecord(1, entry, config, {}), curves, "")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "MONGO_URL"} | {"PORT": str(port)}
    with open(tmp_path / "log", "wb") as log:
        script = subprocess.Popen(
            [SCRIPT, "--results", tmp_path / "runs"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}/sacred"

    def ready() -> bool:
        text = (tmp_path / "log").read_text()
        assert script.poll() is None, text
        return f"Open {address}" in text

    wait_for(ready, "Omniboard", seconds=300)  # the first start installs it
    yield script, address
    os.killpg(script.pid, signal.SIGTERM)
    script.wait(20)


def test_omniboard_lists_a_run_and_plots_its_metric(omniboard: tuple[Any, str], tmp_path: Path) -> None:
    page = Page(omniboard[1], tmp_path / "profile")
    try:
        expander = "document.querySelector('[test-attr=cell-row_expander-0]')"
        wait_for(lambda: page.run(f"{expander} !== null"), "the run's row")
        text = page.run("document.body.innerText")
        assert "1 experiments" in text
        shown = ("Experiment Name", "C Name", "C Env", "C Seed", "Result", "hmf_run", "battle", "37", "4.25")
        assert [word for word in shown if word not in text] == []
        head = page.run("document.querySelector('.public_fixedDataTable_header').innerText")
        assert ("C Seed" in head, "C Key" in head) == (True, False), "what else there is can be chosen"
        page.run(f"{expander}.click()")
        wait_for(lambda: page.run("document.querySelector('.scatterlayer .js-line') !== null"), "the plotted line")
        text = page.run("document.body.innerText")
        assert "Details for: hmf_run (Id: 1)" in text
        assert "test_return_mean" in text
        assert page.run("document.querySelectorAll('.scatterlayer .js-line').length") == 2, (
            "one metric, as it is and smoothed"
        )
        assert page.run("document.querySelector('.scatterlayer .js-line').getAttribute('d')").count("L") == 2
    finally:
        page.process.terminate()


def test_omniboard_and_its_server_listen_on_this_machine_only(omniboard: tuple[subprocess.Popen[bytes], str]) -> None:
    processes = psutil.Process(omniboard[0].pid).children(recursive=True)
    listening = [c.laddr.ip for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"] * 2
