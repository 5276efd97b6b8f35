"""What a configuration may name: all algorithms' parts and all tasks, none of which is imported before it is chosen."""

from __future__ import annotations

import components
import controllers
import envs
import learners
from config.registry import Kind, Registries
from modules import agents, mixers

REGISTRIES: Registries = {
    "env": Kind("envs.base:Env", envs.REGISTRY),
    "agent": Kind("modules.agents.base:Agent", agents.REGISTRY),
    "mac": Kind("controllers.basic_controller:BasicMAC", controllers.REGISTRY),
    "mixer": Kind("torch.nn:Module", mixers.REGISTRY),
    "learner": Kind("learners.base:Learner", learners.REGISTRY),
    "grouping": Kind("components.grouping:Grouping", components.GROUPINGS),
    "selector": Kind("components.selectors:ActionSelector", components.SELECTORS),
    "regime": Kind("learners.regimes:Regime", learners.REGIMES),
}
