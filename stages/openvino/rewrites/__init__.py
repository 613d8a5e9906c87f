"""Rewrites of a program that OpenVINO computes or reads wrongly: before its conversion, and of the IR after it."""
