"""The machine beneath: what the kernel says of power, heat, memory, disk and clock. Read only; nothing here changes the machine."""
