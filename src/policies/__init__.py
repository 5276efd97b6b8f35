"""Policies that are taken away: one file of a common format, and its card."""

KINDS = ("onnx", "torchscript", "safetensors")
