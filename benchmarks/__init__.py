"""Speed and memory beside the peers: `python -m benchmarks`, or `make bench`."""
