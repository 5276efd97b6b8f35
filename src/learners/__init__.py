"""Losses and updates, and the regimes in which they learn, by name."""

REGISTRY = {
    "q_learner": "learners.q_learner:QLearner",
    "mfq_learner": "learners.mfq_learner:MFQLearner",
    "mfvfd_learner": "learners.mfvfd_learner:MFVFDLearner",
    "maddpg_learner": "learners.maddpg_learner:MADDPGLearner",
    "hmf_learner": "learners.hmf_learner:HMFLearner",
}

REGIMES = {"replay": "learners.regimes:ReplayRegime", "rollout": "learners.regimes:RolloutRegime"}
