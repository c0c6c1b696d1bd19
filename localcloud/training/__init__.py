"""Fine-tuning on a laptop: Azure ML's `chat_completion_pipeline` for small models on two CPU cores.

The Azure ML server of the local cloud starts `python -m localcloud.training JOBDIR` for each job, in the model
environment (`.venv-model`, Python 3.11). `build_models` makes the base models that the local registry offers; it is run
once, at set-up. Nothing in here is imported by the app or by the other parts of the local cloud.
"""
