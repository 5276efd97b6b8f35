"""The networks that act, and the memory they need between steps, by name."""

REGISTRY = {
    "basic_mac": "controllers.basic_controller:BasicMAC",
    "mean_field_mac": "controllers.mean_field_controller:MeanFieldMAC",
    "group_mac": "controllers.group_controller:GroupMAC",
}
