"""Workers and brokers die at random while messages flow; the log they leave must be as if nothing had happened."""
