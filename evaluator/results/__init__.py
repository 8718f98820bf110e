"""Results: one model on one bin, stored as JSON and HDF5, and read back from a folder.

`record` is the result itself, `measured` what it is of and where it stands, `store` the folder,
`stored` what is in it, `names` what models and bins are called, `epochs` which models are of one
run, `choice` which results are asked for, `spoilt` which bins were made of others, `bin_facts` what
all results on a bin share, `located` where it is now, `set_facts` and `set_result` the same of
template sets, `overlap` what bins share, `external` what was scored elsewhere, `cost` what a model
costs, `reading_rules` whether a result still stands, `check` and `scores_file` that a file is what
it says, `recomputed` that figures are those of the scores.
"""
