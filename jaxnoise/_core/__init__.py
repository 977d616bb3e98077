"""Shared by all families of noise: checks, shapes, shardings, draws and masks."""
