"""Any PettingZoo parallel environment."""
