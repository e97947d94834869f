"""What the scripts have in common: a run in its folder, what they show and accept."""
