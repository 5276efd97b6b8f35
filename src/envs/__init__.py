"""Environments by name."""

from envs.bar import Bar

REGISTRY: dict[str, type] = {
    "bar": Bar,
}
