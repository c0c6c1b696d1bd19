"""finetune.yaml: its keys, and how a document is held against them."""
