"""A keyring of a test's own, through keyring's interface for backends."""

from keyring.backend import KeyringBackend


class Ring(KeyringBackend):
    """Holds entries, and does what a test says before it answers."""

    priority = 1

    def __init__(self, does=None) -> None:
        super().__init__()
        self.does = does or (lambda: None)
        self.entries = {("acp-broker", "work"): "s3cret"}

    def get_password(self, service: str, username: str) -> str | None:
        self.does()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.does()
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self.does()
        del self.entries[service, username]
