"""From hidden states to task outputs, and the losses of the tasks."""
