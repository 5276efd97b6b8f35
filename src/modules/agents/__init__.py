"""Networks that act."""

from modules.agents.conv import ConvAgent
from modules.agents.mlp import MLPAgent
from modules.agents.rnn import RNNAgent

REGISTRY: dict[str, type] = {"mlp": MLPAgent, "conv": ConvAgent, "rnn": RNNAgent}
