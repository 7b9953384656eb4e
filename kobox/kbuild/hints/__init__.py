"""What a failed build's output means, and what to do about it."""
