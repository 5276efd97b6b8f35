"""MongoDB servers for tests: mongomock in this process, nx-27017 in another, a real one behind $MONGO_URL."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mongomock
import pytest
from pymongo.database import Database
from pymongo.errors import PyMongoError
from tests.support.paths import ROOT

from records.mongo import MongoStore, connect

EMBEDDED = ROOT / "tools" / "embedded_mongo.py"


class Server:
    """Gives empty databases."""

    def __init__(self, database: Callable[[str], Database[Any]]) -> None:
        self._database = database
        self._n_given = 0

    def fresh(self) -> Database[Any]:
        self._n_given += 1
        return self._database(f"hmf_test_{os.getpid()}_{self._n_given}")

    def fresh_store(self) -> MongoStore:
        return MongoStore(self.fresh(), "the test server")


class Embedded:
    """A process of nx-27017 that can be taken away and brought back with its data."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._folder = folder
        self.start()

    def url(self, database: str) -> str:
        return f"mongodb://127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        command = [sys.executable, str(EMBEDDED), str(self._folder), str(self._port)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while True:
            assert self._process.poll() is None, "the embedded server does not start"
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except OSError:
                time.sleep(0.05)
            else:
                break

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def mongomock_server() -> Server:
    return Server(lambda name: mongomock.MongoClient()[name])


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    server = Embedded(tmp_path_factory.mktemp("embedded"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def embedded_server(embedded: Embedded) -> Server:
    return Server(lambda name: connect(embedded.url(name)))


@pytest.fixture
def real_server() -> Iterator[Server]:
    """Databases hmf_test_*, dropped at the end."""
    url = os.environ.get("MONGO_URL")
    if not url:
        pytest.skip("needs a real MongoDB server: MONGO_URL=mongodb://host:27017 pytest -m mongo")
    client = connect(url).client
    try:
        client.admin.command("ping")
    except PyMongoError as error:
        pytest.fail(f"$MONGO_URL is set, but nothing answers there: {error}")
    given: list[str] = []

    def database(name: str) -> Database[Any]:
        given.append(name)
        return client[name]

    yield Server(database)
    for name in given:
        client.drop_database(name)
