"""The words that settings take, for the command line and for Python alike; the first is usual."""

from __future__ import annotations

from typing import Literal

Flip = Literal["none", "sum"]
Decoder = Literal["accurate", "fast"]
Precision = Literal["float32", "bfloat16"]
Engine = Literal["native", "openvino"]
NonFinite = Literal["fail", "drop"]
Profile = Literal["unit", "symmetric", "insightface", "raw"]
Channels = Literal["rgb", "bgr", "gray"]
