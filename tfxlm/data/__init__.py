"""Data for models: `tf.data` pipelines."""
