"""Deployed models, as pure rules: what is asked of them, and whether an answer is one."""
