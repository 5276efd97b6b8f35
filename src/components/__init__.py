"""Pure functions and small modules that several parts share; those that a configuration names."""

GROUPINGS = {
    "contiguous": "components.grouping:ContiguousGrouping",
    "kind": "components.grouping:KindGrouping",
    "random": "components.grouping:RandomGrouping",
    "spatial": "components.grouping:SpatialGrouping",
    "ipc": "components.grouping:IPCGrouping",
}

SELECTORS = {
    "epsilon_greedy": "components.selectors:EpsilonGreedySelector",
    "boltzmann": "components.selectors:BoltzmannSelector",
    "random": "components.selectors:RandomSelector",
}
