"""Where kernels come from (Debian's packages, this host, a file) and the cache that keeps them."""
