"""Local values in, group or team values out, by name."""

REGISTRY = {
    "vdn": "modules.mixers.vdn:VDNMixer",
    "qmix": "modules.mixers.qmix:QMIXMixer",
    "hmf": "modules.mixers.hmf_mixer:HMFMixer",
    "mfvfd": "modules.mixers.mfvfd_mixer:MFVFDMixer",
}
