"""A small MongoDB server over SQLite files, on this machine only: for Omniboard and for tests.

    python tools/embedded_mongo.py FOLDER PORT

nx-27017, started through its classes (its own command leaves a pid file behind when killed), with five repairs:
dates survive, runs are sorted by the numbers that their ids are, a part of a document that was asked for stays where
it was, Omniboard's old driver is accepted, and Omniboard's collections lose the dots that nx-27017 refuses.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta
from typing import Any

from nx_27017 import NeoSQLiteHandler, handler, run_server

EPOCH = datetime(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)
NUMBER = "id_as_number"
TIMES = ("start_time", "stop_time", "heartbeat", "timestamps")  # the fields of Sacred that hold dates


class Handler(NeoSQLiteHandler):
    """Repairs what comes in and what goes out."""

    def handle_insert(self, msg: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return super().handle_insert(repaired(msg))

    def handle_command(self, msg: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        request_id, reply = super().handle_command(repaired(msg))
        for batch in {"firstBatch", "nextBatch"} & reply.get("cursor", {}).keys():
            reply["cursor"][batch] = [with_dates(nested(document)) for document in reply["cursor"][batch]]
        return request_id, reply


def repaired(msg: dict[str, Any]) -> dict[str, Any]:
    """Dates as numbers, ids sorted as numbers; a collection's name is the value of a command's first key."""
    sections = [(kind, without_dates(content)) for kind, content in msg["sections"]]
    for kind, content in sections:
        if kind == "body":
            command, target = next(iter(content.items()))
            if isinstance(target, str) and target.startswith("omniboard."):
                content[command] = target.replace(".", "_")
            if (command, target) == ("aggregate", "runs"):
                content["pipeline"] = [part for stage in content["pipeline"] for part in sorted_by_number(stage)]
    return {**msg, "sections": sections}


def sorted_by_number(stage: dict[str, Any]) -> list[dict[str, Any]]:
    """Stages that sort runs by the number of their id: SQLite without JSONB (before 3.45) keeps text."""
    if "_id" not in stage.get("$sort", {}):
        return [stage]
    keys = {NUMBER if key == "_id" else key: direction for key, direction in stage["$sort"].items()}
    return [{"$addFields": {NUMBER: {"$toInt": "$_id"}}}, {"$sort": keys}, {"$project": {NUMBER: 0}}]


def without_dates(value: Any) -> Any:
    """Dates as milliseconds, at any depth: nx-27017 stores them as text, which it can neither subtract nor order."""
    if isinstance(value, datetime):
        return (value - EPOCH) // MILLISECOND
    if isinstance(value, dict):
        return {key: without_dates(item) for key, item in value.items()}
    return [without_dates(item) for item in value] if isinstance(value, list) else value


def nested(document: dict[str, Any]) -> dict[str, Any]:
    """``{"config.lr": 1}``, which nx-27017 answers for a projection, as ``{"config": {"lr": 1}}``."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        *above, last = key.split(".")
        inside = found
        for name in above:
            inside = inside.setdefault(name, {})
        inside[last] = value
    return found


def with_dates(document: dict[str, Any]) -> dict[str, Any]:
    """Sacred's dates as dates again."""

    def date(value: Any) -> Any:
        if isinstance(value, list):
            return [date(item) for item in value]
        return EPOCH + value * MILLISECOND if isinstance(value, int) else value

    return {key: date(value) if key in TIMES else value for key, value in document.items()}


def main() -> None:
    folder, port = sys.argv[1], int(sys.argv[2])
    handler.MIN_WIRE_VERSION = 0
    asyncio.run(run_server("127.0.0.1", port, Handler(data_dir=folder)))


if __name__ == "__main__":
    main()
