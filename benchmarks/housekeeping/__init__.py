"""Stores of many results, and stores that are emptied while runs go on."""
