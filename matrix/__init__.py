"""Real agents whose provider fails, alone and behind the broker: `scripts/matrix`, and docs/matrix.md."""
