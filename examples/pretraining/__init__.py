"""How `examples/checkpoint` is made: text, vocabulary, objectives, training, evaluation."""
