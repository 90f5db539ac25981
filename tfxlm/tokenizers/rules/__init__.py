"""What the tokenizers do to text, as data: character classes, replacement chains, prefixes and templates."""
