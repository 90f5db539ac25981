"""Messages of TensorFlow, reduced to what they say."""

import pytest
import tensorflow as tf

from tfxlm.serve.graph_errors import clean_message, graph_error


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Graph execution error:\n\nDetected at node Gather defined at (most recent call last):\n"
            "<stack traces unavailable>\nindices[0,1] = 11 is not in [0, 10)\n\t [[{{node Gather}}]] "
            "[Op:__inference_signature_wrapper_f_205]",
            "indices[0,1] = 11 is not in [0, 10)",
        ),
        (
            "Graph execution error:\n\nDetected at node 'x' defined at (most recent call last):\n"
            "  File \"/home/someone/model.py\", line 3, in f\n    return gather(a)\nNode: 'x'\nbad [[{{node x}}]]",
            "Node: 'x' bad",
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT: too long\n\t [[{{node a}}]]\n"
            "  (1) INVALID_ARGUMENT: too short\n0 successful operations.\n0 derived errors ignored.",
            "(0) INVALID_ARGUMENT: too long (1) INVALID_ARGUMENT: too short",
        ),
        ("{{function_node __wrapped__Add_device_/job:x}} shapes differ [Op:AddV2] name: ", "shapes differ  name:"),
        ("\n\t [[{{node a}}]]", "TensorFlow gave no reason."),
        (
            r"assertion failed: [langs of the checkpoint\'s {\'en\': 0}, \"x\", a\\b, \303\251\nnext]",
            "assertion failed: [langs of the checkpoint's {'en': 0}, \"x\", a\\b, é next]",
        ),
        (r"a\nb is no file", r"a\nb is no file"),
    ],
)
def test_clean_message(message: str, expected: str) -> None:
    assert clean_message(message) == expected


def test_the_text_of_a_real_assertion_reads_as_it_was_written() -> None:
    text = """the checkpoint's own "words", a\\b, {'fr': 0}, é"""

    @tf.function(autograph=False)
    def refuse(x: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(x > 0, [text], summarize=1)]):
            return tf.identity(x)

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        refuse(tf.constant(-1))
    assert clean_message(caught.value.message) == f"assertion failed: [{text}]"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (tf.errors.InvalidArgumentError, "INVALID_ARGUMENT"),
        (tf.errors.ResourceExhaustedError, "RESOURCE_EXHAUSTED"),
        (tf.errors.FailedPreconditionError, "FAILED_PRECONDITION"),
        (tf.errors.UnimplementedError, "UNIMPLEMENTED"),
    ],
)
def test_codes(kind: type[tf.errors.OpError], code: str) -> None:
    error = graph_error(kind(None, None, "no"), "Model 'a' version 1")
    assert (error.code, str(error)) == (code, "Model 'a' version 1 could not process the input: no")
