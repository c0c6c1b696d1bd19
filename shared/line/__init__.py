"""The stable endpoint of a folder and base model: who may change it, and when it is torn down."""
