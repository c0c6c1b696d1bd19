"""Reading: from bytes, of a file, a blob or the Hugging Face Hub, to rows in order, broken ones in their place."""
