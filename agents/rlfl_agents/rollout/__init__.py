"""What is sampled from a frozen policy, what is learned from it, and how processes put theirs together."""
