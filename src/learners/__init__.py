"""Losses and updates."""

from learners.hmf_learner import HMFLearner
from learners.maddpg_learner import MADDPGLearner
from learners.mfq_learner import MFQLearner
from learners.mfvfd_learner import MFVFDLearner
from learners.q_learner import QLearner

REGISTRY: dict[str, type] = {
    "q_learner": QLearner,
    "mfq_learner": MFQLearner,
    "mfvfd_learner": MFVFDLearner,
    "maddpg_learner": MADDPGLearner,
    "hmf_learner": HMFLearner,
}
