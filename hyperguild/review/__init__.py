"""What is learnt from the log: which attempts to look at, statistics, calibration, replay."""
