"""What tools/omniboard_loopback.cjs lets through, on a server of two lines."""

from __future__ import annotations

import http.client
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.paths import ROOT

GUARD = ROOT / "tools" / "omniboard_loopback.cjs"
SERVER = """
const server = require("node:http").createServer((request, response) => response.end("runs"));
server.on("upgrade", (request, socket) => socket.end("HTTP/1.1 101 Switching Protocols\\r\\n\\r\\n"));
server.on("listening", () => console.log(server.address().address, server.address().port)).listen(0, "0.0.0.0");
"""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js on PATH")


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Where the server listens."""
    command = ["node", "--require", str(GUARD), "--eval", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        host, port = next(line for line in server.stdout if not line.startswith("Open")).split()
        yield host, int(port)
        server.terminate()


def status(address: tuple[str, int], host: str, **headers: str) -> int:
    """What the server answers to a request that names ``host``; 0: it hangs up."""
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": host, **headers})
        return connection.getresponse().status
    except http.client.RemoteDisconnected:
        return 0
    finally:
        connection.close()


def test_only_requests_that_name_this_machine_are_answered(address: tuple[str, int]) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert address[0] == "127.0.0.1"
    for host in ("127.0.0.1:9000", "localhost:8123", "localhost", "[::1]:9000"):
        assert status(address, host) == 200
        assert status(address, host, **upgrade) == 101
    for host in ("evil.example", "evil.example:9000", "127.0.0.1.evil.example:9000", ""):
        assert status(address, host) == 403
        assert status(address, host, **upgrade) == 0
