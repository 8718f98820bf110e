"""What a Keras file may name, by module and class: `walk` refuses all else."""
