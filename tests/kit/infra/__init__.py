"""Reads infra/ as Azure would: its Bicep, what is made of it for given parameters, and who may do what then."""
