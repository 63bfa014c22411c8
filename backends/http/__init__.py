"""What every kind shares that asks a provider over HTTP: no kind by itself."""
