"""What stands in for Azure on a laptop: storage, events, identity, Azure ML, metrics and the Functions host.

Nothing in `functions/` or `shared/` imports it. The app meets it through environment variables alone.
"""
