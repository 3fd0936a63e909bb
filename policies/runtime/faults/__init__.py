"""Faults on command, and what a whole run does about each: the fault matrix.

- `sabotage`: policies that go wrong; `proxy`, `served`: a server and a network that do
- `recorder`: what reached the arm, and whether it kept the limits
- `bench`: a run put together for a trial; `trial`: one trial and its outcome
- `cases`: the faults that any arm can be tried with; `report`: the table
"""
