"""ONNX models: parsed and scanned by the onnx package, then run by onnxruntime from those bytes.

`load` has ``check`` and ``load``; `model` reads, which OpenVINO asks for too, by `proto`; `macs`
counts.
"""
