"""The demo: the whole way on this machine, from a dropped dataset to an answering endpoint and away again."""
