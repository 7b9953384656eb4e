"""Kernels of other distributions, fetched by name from mirrors: layouts, signatures, digests."""
