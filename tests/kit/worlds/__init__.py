"""The app over the real SDKs and the local cloud, with hosts that can die and time that can jump."""
