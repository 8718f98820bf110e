"""How the files of models begin that have no signature: ONNX, frozen graphs, OpenVINO's XML."""

from __future__ import annotations

import re

#: A length in protocol buffers, as a pattern.
PB_LENGTH = rb"[\x80-\xff]{0,4}[\x00-\x7f]"

# onnx.ModelProto as every writer begins it: the IR version, then by field number a text (the
# producer's name or version, the domain or a comment), the model's version, the graph with its
# first field, or an operator set.
_ONNX = re.compile(
    rb"\x08[\x01-\x7f](?:"
    rb"[\x12\x1a\x22\x32](?:[\x01-\x7f]|[\x80-\xff][\x01-\x7f])[\x20-\x7e\xc2-\xf4]"
    rb"|[\x12\x1a\x22\x32]\x00[\x12\x1a\x22\x28\x32\x3a\x42]"
    rb"|\x28[\x80-\xff]{0,9}[\x00-\x7f][\x32\x3a\x42]"
    rb"|\x3a[\x80-\xff]{0,4}[\x01-\x7f][\x0a\x12\x2a\x52\x5a\x62\x6a\x72\x7a]"
    rb"|\x42[\x02-\x7f][\x0a\x10])"
)
# tensorflow.GraphDef: its first node, which begins with its name and its operation.
_FROZEN = re.compile(
    rb"\x0a" + PB_LENGTH + rb"\x0a([\x01-\x7f]|[\x80-\xff][\x01-\x03])([A-Za-z0-9.][\w.\\/>-]*)"
    rb"\x12([\x01-\x7f])([A-Z_][A-Za-z0-9_>]*)"
)
_OPENVINO = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>\s*)?(<!--.{0,200}?-->\s*)*(<!DOCTYPE\s+net\b.*)?<net[\s>]",
    re.DOTALL,
)


def is_onnx(head: bytes) -> bool:
    """Whether a file begins as an ONNX model; 16 bytes tell. What only looks like one is refused by
    the onnx package when it is loaded.
    """
    return _ONNX.match(head[:16]) is not None


def is_frozen_graph(head: bytes) -> bool:
    """Whether a file begins as a TensorFlow graph; 512 bytes tell."""
    found = _FROZEN.match(head)
    if found is None:
        return False
    first = found[1]
    length = first[0] if len(first) == 1 else first[0] - 128 + (first[1] << 7)
    return len(found[2]) == length and len(found[4]) >= found[3][0]


def is_openvino_ir(head: bytes) -> bool:
    """Whether a file begins as an OpenVINO model's description; 512 bytes tell."""
    return _OPENVINO.match(head) is not None
