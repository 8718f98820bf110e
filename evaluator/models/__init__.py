"""Model formats, one small file each, behind one Embedder."""
