"""`zoo report`: stored results as one HTML file that opens offline."""
