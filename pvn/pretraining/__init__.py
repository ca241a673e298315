"""What a pretraining config describes and makes, how large it is, and what a run writes."""
