"""Shared by the layers of `jaxnoise.linen` and `jaxnoise.nnx`."""
