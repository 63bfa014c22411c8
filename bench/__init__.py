"""What the broker costs, against a direct connection to the same agent: `scripts/bench`, and docs/speed.md."""
