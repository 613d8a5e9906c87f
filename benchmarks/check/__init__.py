"""A mutation test of the check: single faults are planted in right artifacts, and the check is to find each one."""
