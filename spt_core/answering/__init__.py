"""Record -> answer: what lies between a request and a model's runtime, and back, by family."""
