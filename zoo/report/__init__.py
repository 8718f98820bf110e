"""`zoo report`: stored results as one HTML file that opens offline.

`selection` says which results, `conditions` what sections are asked for, `page` writes it.
"""
