"""A small MongoDB server over SQLite files, on this machine only: for Omniboard and for tests.

    python tools/embedded_mongo.py FOLDER PORT

nx-27017, started through its classes (its own command leaves a pid file behind when killed), with three repairs:
dates survive, Omniboard's old driver is accepted, and Omniboard's collections lose the dots that nx-27017 refuses.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import Any

from nx_27017 import NeoSQLiteHandler, handler, run_server

DATE = "date:"  # marks a date that is stored as text


class Handler(NeoSQLiteHandler):
    """Repairs what comes in and what goes out."""

    def handle_insert(self, msg: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return super().handle_insert(repaired(msg))

    def handle_command(self, msg: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        request_id, reply = super().handle_command(repaired(msg))
        return request_id, {key: with_dates(value) for key, value in reply.items()}


def repaired(msg: dict[str, Any]) -> dict[str, Any]:
    """Dates as text; a collection's name is the value of a command's first key."""
    sections = [(kind, without_dates(content)) for kind, content in msg["sections"]]
    for kind, content in sections:
        if kind == "body":
            command, target = next(iter(content.items()))
            if isinstance(target, str) and target.startswith("omniboard."):
                content[command] = target.replace(".", "_")
    return {**msg, "sections": sections}


def without_dates(value: Any) -> Any:
    """Dates as marked text, at any depth: nx-27017 stores those inside arrays in two ways."""
    if isinstance(value, datetime):
        return DATE + value.isoformat(timespec="milliseconds")
    if isinstance(value, dict):
        return {key: without_dates(item) for key, item in value.items()}
    return [without_dates(item) for item in value] if isinstance(value, list) else value


def with_dates(value: Any) -> Any:
    """The inverse of ``without_dates``."""
    if isinstance(value, str) and value.startswith(DATE):
        return datetime.fromisoformat(value.removeprefix(DATE))
    if isinstance(value, dict):
        return {key: with_dates(item) for key, item in value.items()}
    return [with_dates(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    folder, port = sys.argv[1], int(sys.argv[2])
    handler.MIN_WIRE_VERSION = 0
    asyncio.run(run_server("127.0.0.1", port, Handler(data_dir=folder)))


if __name__ == "__main__":
    main()
