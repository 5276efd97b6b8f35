"""Networks that act, by name."""

REGISTRY = {
    "mlp": "modules.agents.mlp:MLPAgent",
    "conv": "modules.agents.conv:ConvAgent",
    "rnn": "modules.agents.rnn:RNNAgent",
}
