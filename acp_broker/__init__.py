"""ACP Broker keeps coding agents answering: one ACP agent in front, a chain of backends behind."""

__version__ = "0.1.0"
