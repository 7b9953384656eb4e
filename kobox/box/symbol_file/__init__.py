"""A box's kernel as a file that debuggers read: a `vmlinux` with symbols, types and unwinding, made of what it has."""
