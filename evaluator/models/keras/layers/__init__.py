"""Layers that training code puts into files and Keras does not have, for Keras 3 and tf_keras."""
