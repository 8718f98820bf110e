"""`zoo report`: stored results as one HTML file that opens offline.

`selection` says which results, `page` writes it.
"""
