"""What the layers of `jaxnoise.linen` and `jaxnoise.nnx` share."""
