"""Layers of training code that model files name, written anew: `training` has them all."""
