from tests.support.local_fixtures import controller, directory, server

__all__ = ["controller", "directory", "server"]
