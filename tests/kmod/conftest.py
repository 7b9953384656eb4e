from tests.kmod_fixtures import cloud, cloud_one_softdep, cloud_package, kmod, own_cache

__all__ = ["cloud", "cloud_one_softdep", "cloud_package", "kmod", "own_cache"]
