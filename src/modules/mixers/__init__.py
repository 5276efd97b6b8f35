"""Local values in, group or team values out."""

from modules.mixers.hmf_mixer import HMFMixer
from modules.mixers.mfvfd_mixer import MFVFDMixer
from modules.mixers.qmix import QMIXMixer
from modules.mixers.vdn import VDNMixer

REGISTRY: dict[str, type] = {"vdn": VDNMixer, "qmix": QMIXMixer, "hmf": HMFMixer, "mfvfd": MFVFDMixer}
