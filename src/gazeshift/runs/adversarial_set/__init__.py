"""What `gazeshift attack` does: an adversarial set, shard by shard."""
