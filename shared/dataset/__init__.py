"""Datasets: which files make a run, what finetune.yaml says, which rows are good, and how they are split.

`reading`, `judging` and `preparing` are the way of a row; `spec` is finetune.yaml. Files, the hub's network and worker
processes are touched in `reading` and `preparing`, rows are judged without.
"""
