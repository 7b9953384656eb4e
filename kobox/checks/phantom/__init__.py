"""Phantom devices: what a driver must read to get through its probe function, found by trying."""
