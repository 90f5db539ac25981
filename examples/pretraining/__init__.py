"""What pre-training in the examples needs beside tfxlm: the text, and how models are judged."""
