"""Training on several devices and machines: who takes part, and what they agree on.

`devices` sets a framework up, `hosts` says who is there, `team` talks.
"""
