"""Faults of OpenVINO models."""
