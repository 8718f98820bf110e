"""Training on several devices and machines: who takes part, and what they agree on.

`devices` sets a framework up, `hosts` says who is there, `team` lets them meet and agree, and
``parent`` watches over one of them.
"""
