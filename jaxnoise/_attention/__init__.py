"""Attention with dropout: as a whole, or by blocks of keys."""

from jaxnoise._attention._dot_product import dot_product_attention

__all__ = ["dot_product_attention"]
