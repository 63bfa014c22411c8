"""`acp-broker check`: every backend of the chain is really started, looked at, and ended again."""
