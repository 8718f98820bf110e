"""What a Keras file may name: tables of what only computes, and the walk over a config."""
