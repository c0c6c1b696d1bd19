"""The Functions host, as its own process, on real storage."""
