"""Deployed models, as pure rules: what is asked of them, when a new version passes, when an endpoint is idle."""
