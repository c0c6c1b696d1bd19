"""Jobs and endpoints of the local Azure ML, through the SDK."""

MODEL = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
"""The small base model, as the registry names it."""
