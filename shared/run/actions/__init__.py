"""What is done for a run."""
