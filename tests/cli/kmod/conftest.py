from tests.kmod_fixtures import cloud, cloud_package, kmod, own_cache

__all__ = ["cloud", "cloud_package", "kmod", "own_cache"]
