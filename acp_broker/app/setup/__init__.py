"""`acp-broker init`: what is installed on this machine, and a first config.json made of it."""
