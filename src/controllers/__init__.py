"""The networks that act, and the memory they need between steps."""

from controllers.basic_controller import BasicMAC
from controllers.group_controller import GroupMAC
from controllers.mean_field_controller import MeanFieldMAC

REGISTRY: dict[str, type] = {"basic_mac": BasicMAC, "mean_field_mac": MeanFieldMAC, "group_mac": GroupMAC}
