"""HTTP: what people and the command line ask for, and what they are answered."""
