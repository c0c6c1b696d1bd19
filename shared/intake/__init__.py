"""What arrives: events, and the folders that they are about."""
