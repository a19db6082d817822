"""Section 3 of the paper and its Algorithm 1; docs/method.md is its page."""
