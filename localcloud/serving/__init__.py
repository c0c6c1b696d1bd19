"""What a deployment of the local cloud runs, in the model environment (`.venv-model`).

The process itself is Azure ML's own inference server; localcloud/azureml/deployments.py starts it, with `score.py` as
its scoring script.
"""
