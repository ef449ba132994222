"""Which vendor gets a call, and what is known of each one's health. Pure: clock and random are given."""
