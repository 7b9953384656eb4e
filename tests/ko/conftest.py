from tests.kmod_fixtures import cloud_package, kmod

__all__ = ["cloud_package", "kmod"]
