"""Local values in, group or team values out."""

from modules.mixers.hmf_mixer import HMFMixer
from modules.mixers.vdn import VDNMixer

REGISTRY: dict[str, type] = {"vdn": VDNMixer, "hmf": HMFMixer}
