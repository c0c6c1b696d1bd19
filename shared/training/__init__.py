"""Fine-tune jobs, as pure rules: what a base model allows, its parameters, the compute, and the job's request."""
