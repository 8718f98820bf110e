"""Bins: verification sets read without running what is inside, checked, and written.

`verification_set` reads and writes them, `pairs_file` what is known of their pairs, `tables` text
that programs wrote, `recipe` of which bin one was made, `containers` the files without pickle,
`stored_images` images that stay in their file, `mat_file` what MATLAB wrote.
"""
