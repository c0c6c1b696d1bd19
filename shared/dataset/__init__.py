"""Datasets, as pure rules: which files make a run, what finetune.yaml says, which rows are good, and the split."""
