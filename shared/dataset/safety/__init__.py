"""Secrets and persons' data in rows: found, told without their value, masked; and licences that do not go together."""
