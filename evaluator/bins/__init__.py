"""Bins: verification sets read without running what is inside, checked, and written.

`verification_set` reads and writes them, `named` finds them by name, `pairs_file` what is known of
their pairs, `tables` text that programs wrote, `recipe` of which bin one was made, `containers` the
files without pickle, `wrapped` what a pickle may come in, `stored_images` images that stay in their
file, `mat_file` what MATLAB wrote; `pickle_reader` reads pickles of any kind by `pickle_values` or
another table.
"""
