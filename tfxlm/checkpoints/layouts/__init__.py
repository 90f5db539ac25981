"""Checkpoints of other programs, presented as `transformers` would have stored them: one file per program."""
