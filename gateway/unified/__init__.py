"""The unified surfaces: one key, one format, every vendor. Read `entry`, then `walk`."""
