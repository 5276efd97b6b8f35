"""Networks that act."""

from modules.agents.conv import ConvAgent
from modules.agents.mlp import MLPAgent

REGISTRY: dict[str, type] = {"mlp": MLPAgent, "conv": ConvAgent}
