"""The formats that are drawn by grammar."""
from fuzz.keras_grammar import KerasFormat
from fuzz.onnx_models import OnnxFormat
from fuzz.saved_models import SavedModelFormat
FORMATS = {"keras": KerasFormat, "onnx": OnnxFormat, "savedmodel": SavedModelFormat}
