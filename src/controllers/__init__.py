"""The networks that act, and the memory they need between steps."""

from controllers.basic_controller import BasicMAC
from controllers.group_controller import GroupMAC

REGISTRY: dict[str, type] = {"basic_mac": BasicMAC, "group_mac": GroupMAC}
