"""What the families of noise share: checks, shapes, shardings, draws and masks."""
