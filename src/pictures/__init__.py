"""Pictures and videos of environments, which import nothing of it."""

COLOURS = ("side", "group", "attention")  # what a learner's colour shows
