"""Losses and updates."""

from learners.hmf_learner import HMFLearner
from learners.q_learner import QLearner

REGISTRY: dict[str, type] = {"q_learner": QLearner, "hmf_learner": HMFLearner}
