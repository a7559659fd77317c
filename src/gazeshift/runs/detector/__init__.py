"""What `gazeshift detect fit` and `calibrate` do."""
