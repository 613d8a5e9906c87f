"""The models in which faults are planted."""
