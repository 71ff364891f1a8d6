"""For those who build on the event store: a clock that moves when told to, faults on demand, given/when/then, logs that start high."""
